/** The version of the command; the bundle replaces the word. */
export const version: string = typeof VALETKEY_VERSION === "string" ? VALETKEY_VERSION : "0.0.0-source"

declare const VALETKEY_VERSION: string | undefined
