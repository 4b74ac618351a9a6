/** Port: values with an expiry that may be lost at any moment (rate limits, quotas, cached documents). */

/** What security rests on belongs into the database, never here. */
export interface KeyValue extends AsyncDisposable {
  /** The value, or undefined when it was never set, was deleted or has expired. */
  get(key: string): Promise<string | undefined>;
  /** Sets or replaces value and expiry; without `ttlMilliseconds` it stays. */
  set(key: string, value: string, ttlMilliseconds?: number): Promise<void>;
  delete(key: string): Promise<void>;
  /**
   * Counts one up and returns the count: a window that the first call opens for `ttlMilliseconds` and later ones do not
   * prolong. Calls side by side each get a number of their own. `by` counts several at once.
   */
  increment(key: string, ttlMilliseconds: number, by?: number): Promise<number>;
}
