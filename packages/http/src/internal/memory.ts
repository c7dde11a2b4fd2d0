import { hash } from "node:crypto"

/** Values by credential, each for a short time and never past its own end. Keeps digests, not credentials. */
export const makeMemory = <A>(options: { readonly capacity: number; readonly seconds: number }) => {
  const entries = new Map<string, { readonly value: A; readonly until: number }>()
  return {
    get(credential: string): A | undefined {
      const key = hash("sha256", credential, "base64url")
      const entry = entries.get(key)
      if (entry === undefined) return undefined
      if (entry.until > Date.now()) return entry.value
      entries.delete(key)
      return undefined
    },
    /** Remembers until `end` (seconds since 1970) at the longest; the oldest entry makes room. */
    set(credential: string, value: A, end: number): void {
      if (entries.size >= options.capacity) entries.delete(entries.keys().next().value!)
      entries.set(hash("sha256", credential, "base64url"), {
        value,
        until: Math.min(end * 1000, Date.now() + options.seconds * 1000)
      })
    }
  }
}
