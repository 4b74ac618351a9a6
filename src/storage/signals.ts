/** Port: tells every process of a node that there is something to look at. It carries no content; the database does. */

export interface Signals extends AsyncDisposable {
  /** Tells all who listen for `name`, in this process at once. Never waits, never fails. */
  send(name: string): void;
  /** Calls `heard` for every signal, also when one may have been missed. Returns what ends it. */
  listen(name: string, heard: () => void): () => void;
}

/** Within one process. */
export function createLocalSignals(): Signals {
  const listeners = new Map<string, Set<() => void>>();
  return {
    send(name) {
      for (const heard of listeners.get(name) ?? []) heard();
    },
    listen(name, heard) {
      const ofName = listeners.get(name) ?? new Set();
      listeners.set(name, ofName.add(heard));
      return () => {
        ofName.delete(heard);
        if (ofName.size === 0) listeners.delete(name);
      };
    },
    async [Symbol.asyncDispose]() {
      listeners.clear();
    },
  };
}
