import { RedemptionError, type RedemptionFailure } from "@valetkey/domain/AuthorizationServer"

/** What the provider makes of a refresh token that was used: it stays good, is refused, ends its family, or is good for a while. */
export type Rotation = "none" | "refuse-old" | "revoke-family" | "grace"

/** What one consent gave, and everything that was obtained with it. */
export interface Family {
  readonly number: number
  /** Whose consent it was. */
  readonly path: string
  revoked: boolean
  /** The life of the connection that holds it, as soon as one does. */
  epoch?: string
  /** The how-manieth consent of its connection that was stored. */
  order?: number
}

/** One answer with tokens. */
export interface Issued {
  readonly family: Family
  /** What was redeemed for it; absent after a consent. */
  readonly redeemed: string | undefined
  readonly accessToken: string
  /** Absent in an answer that leaves the old one in force. */
  readonly refreshToken: string | undefined
}

const grace = 2000

/** The provider of one history: it answers by the rules of its rotation, and counts. Nothing is on its way here. */
export class Provider {
  readonly refreshTokens = new Map<string, { readonly family: Family; usedAt?: number }>()
  readonly accessTokens = new Map<string, Issued>()
  /** Authorization codes, how often each arrived, and whose consent they stand for. */
  readonly codes = new Map<string, { readonly path: string; arrived: number }>()
  /** Tokens whose revocation was confirmed. */
  readonly revoked = new Set<string>()
  readonly #rotation: Rotation
  #count = 0

  constructor(rotation: Rotation) {
    this.#rotation = rotation
  }

  consent(path: string): Issued {
    return this.#issue({ number: ++this.#count, path, revoked: false }, undefined, true)
  }

  exchange(code: string): Issued | RedemptionError {
    const known = this.codes.get(code)
    return known === undefined || known.arrived > 1 ? refused : this.consent(known.path)
  }

  redeem(refreshToken: string, now: number): Issued | RedemptionError {
    const row = this.refreshTokens.get(refreshToken)
    if (row === undefined || row.family.revoked) return refused
    if (this.#rotation === "none") return this.#issue(row.family, refreshToken, false)
    if (row.usedAt !== undefined && !(this.#rotation === "grace" && now - row.usedAt < grace)) {
      if (this.#rotation === "revoke-family") row.family.revoked = true
      return refused
    }
    row.usedAt ??= now
    return this.#issue(row.family, refreshToken, true)
  }

  revoke(token: string): void {
    const family = this.refreshTokens.get(token)?.family
    if (family !== undefined) family.revoked = true
    this.revoked.add(token)
  }

  #issue(family: Family, redeemed: string | undefined, rotates: boolean): Issued {
    const number = ++this.#count
    const refreshToken = rotates ? `refresh-${number}` : undefined
    const issued = { family, redeemed, accessToken: `access-${number}`, refreshToken }
    this.accessTokens.set(issued.accessToken, issued)
    if (refreshToken !== undefined) this.refreshTokens.set(refreshToken, { family })
    return issued
  }
}

const failed = (reason: RedemptionFailure) => new RedemptionError({ reason })

export const refused = failed({ _tag: "Terminal", error: "invalid_grant" })
/** Answered by what stands in front of the provider: nothing was redeemed. */
export const busy = failed({ _tag: "Transient" })
export const unknown = failed({ _tag: "UnknownOutcome" })
