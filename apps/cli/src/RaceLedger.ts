import { Redacted } from "effect"
import { randomBytes } from "node:crypto"

/** What the token endpoint of the race has seen of one grant. */
export interface GrantRecord {
  /** Requests that carried a refresh token of the grant, whatever they were answered. */
  readonly asked: number
  /** Those that were answered with tokens. */
  readonly redeemed: number
  /** Of these, those that nothing called for: the token that they replaced was young, and nobody had refused it. */
  readonly needless: number
  /** Requests with a refresh token that had been redeemed before: what a strict provider takes for theft. */
  readonly reused: number
  /** Whether everything of the grant was revoked for that. */
  readonly revoked: boolean
}

/** Tokens as a token endpoint answers with them (RFC 6749 §5.1). */
export interface Issued {
  readonly accessToken: string
  readonly refreshToken: string
  readonly expiresIn: number
}

/** When an access token began and ends. */
interface Life {
  readonly issuedAt: number
  readonly endsAt: number
}

/** One grant of a strict provider: each refresh token is good once, and a second use revokes them all (RFC 9700 §4.14.2). */
export class RaceGrant {
  readonly refreshToken: Redacted.Redacted
  readonly #record = { asked: 0, redeemed: 0, needless: 0, reused: 0, revoked: false }
  /** Access tokens that the resource takes. */
  readonly #good = new Map<string, Life>()
  #latest: Life | undefined

  constructor(refreshToken: string) {
    this.refreshToken = Redacted.make(refreshToken)
  }

  get record(): GrantRecord {
    return { ...this.#record }
  }

  /** When the last of the access tokens that the resource takes has ended; 0 when there is none. */
  get endsAt(): number {
    return Math.max(0, ...[...this.#good.values()].map(({ endsAt }) => endsAt))
  }

  /** Whether the resource takes this access token at that time. */
  admits(accessToken: string, now: number): boolean {
    const life = this.#good.get(accessToken)
    return life !== undefined && now < life.endsAt
  }

  /** The resource refuses every access token that was issued so far. */
  refuse(): void {
    this.#good.clear()
  }

  /** A request with one of its refresh tokens, spent or not; undefined is `invalid_grant`. */
  redeem(isSpent: boolean, lifetimeSeconds: number, now: number): Issued | undefined {
    const record = this.#record
    record.asked++
    if (isSpent) {
      record.reused++
      record.revoked = true
      this.#good.clear()
    }
    if (record.revoked) return undefined
    record.redeemed++
    if (!this.#isCalledFor(now)) record.needless++
    const accessToken = random()
    this.#latest = { issuedAt: now, endsAt: now + lifetimeSeconds * 1000 }
    this.#good.set(accessToken, this.#latest)
    return { accessToken, refreshToken: random(), expiresIn: lifetimeSeconds }
  }

  /** By the servers' count, which begins when they ask, half of the life is over then: this leaves room for slow arrivals. */
  #isCalledFor(now: number): boolean {
    if (this.#latest === undefined || this.#good.size === 0) return true
    const { endsAt, issuedAt } = this.#latest
    return now - issuedAt >= (endsAt - issuedAt) / 8
  }
}

/** Every grant of a race by its refresh tokens, the spent ones included. Times are milliseconds of whoever asks. */
export class RaceLedger {
  readonly #rows = new Map<string, { readonly grant: RaceGrant; isSpent: boolean }>()

  /** A new grant, as if a person had consented. */
  open(): RaceGrant {
    const refreshToken = random()
    const grant = new RaceGrant(refreshToken)
    this.#rows.set(refreshToken, { grant, isSpent: false })
    return grant
  }

  /** Redeems a refresh token; undefined is `invalid_grant`. */
  redeem(refreshToken: string, lifetimeSeconds: number, now: number): Issued | undefined {
    const row = this.#rows.get(refreshToken)
    if (row === undefined) return undefined
    const { grant } = row
    const issued = grant.redeem(row.isSpent, lifetimeSeconds, now)
    if (issued !== undefined) {
      row.isSpent = true
      this.#rows.set(issued.refreshToken, { grant, isSpent: false })
    }
    return issued
  }
}

const random = (): string => randomBytes(32).toString("base64url")
