/** For a connection to Redis whose coming and going a test sees for itself. */
export const quiet = { onAway() {}, onBack() {}, onRefused() {} };
/** For a scheduler on Redis of whose troubles nobody needs to be told; any name is a lane. */
export const heedless = { onError() {}, isLane: () => true, onStrangeJob() {}, onStuck() {}, onTaken() {} };
