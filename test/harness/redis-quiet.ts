/** For a connection to Redis whose coming and going a test sees for itself. */
export const quiet = { onAway() {}, onBack() {}, onRefused() {} };
