import { createHash } from "node:crypto"

/** Names a secret without holding it: the first 16 hexadecimal digits of its SHA-256. */
export type Fingerprint = string

/** Fingerprint of a secret; logs of the peers carry this and never the secret. */
export const of = (secret: string): Fingerprint => createHash("sha256").update(secret).digest("hex").slice(0, 16)
