/** For a letter of base64 before two signs of padding, one that stands for the same octets and sets a bit of none. */
export const setUnusedBit = (letter: string): string => String.fromCharCode(letter.charCodeAt(0) + 1);
