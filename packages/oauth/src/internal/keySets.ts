import type { JWKSCacheInput } from "oauth4webapi"

/** How many key sets are remembered; a forgotten one costs a request. */
const capacity = 100

/** The largest key set that is read, in bytes: dozens of keys with their certificates. */
export const maxKeySet = 128 * 1024

/** Key sets of authorization servers, each for five minutes; one that lacks a key is read again after a minute at most. */
export interface KeySets {
  /** Where oauth4webapi keeps the set of this place, for everybody who may reach it in the same way. */
  of(trust: string, jwksUri: string): JWKSCacheInput
}

/** Makes the key sets of one process. */
export const makeKeySets = (): KeySets => {
  const sets = new Map<string, JWKSCacheInput>()
  return {
    of: (trust, jwksUri) => {
      const name = `${trust} ${jwksUri}`
      const known = sets.get(name) ?? {}
      sets.delete(name)
      if (sets.size >= capacity) sets.delete(sets.keys().next().value!)
      sets.set(name, known)
      return known
    }
  }
}

/** Error of a place that has no key set to give. */
export class KeysUnavailable extends Error {
  readonly _tag = "KeysUnavailable"
}
