import * as Canary from "../Canary.ts"

/** How the fake provider treats a refresh token that was used; a number is a grace in seconds. */
export type Rotation = "none" | "rotate-refuse-old" | "rotate-revoke-family" | { readonly graceSeconds: number }

/** Everything issued for one consent. */
export interface Family {
  readonly clientId: string
  readonly subject: string
  readonly resource: string | undefined
  scopes: ReadonlyArray<string>
  revoked: boolean
  /** Refresh tokens in the order they were issued; the last one is current. */
  readonly refreshTokens: Array<string>
  readonly accessTokens: Array<string>
}

export interface Issued {
  readonly accessToken: string
  readonly refreshToken: string | undefined
  readonly family: Family
}

/** What a refresh token or an access token belongs to, and since when it is used or until when it is valid. */
interface RefreshRow {
  readonly family: Family
  /** When it was issued, or redeemed where it stays. */
  touchedAt: number
  usedAt?: number
}

export interface AccessRow {
  readonly family: Family
  expiresAt: number
}

/** Families of tokens and the rules of rotation. Times are milliseconds of the test's clock. */
export class FakeGrants {
  readonly families: Array<Family> = []
  readonly access = new Map<string, AccessRow>()
  private readonly refresh = new Map<string, RefreshRow>()
  private readonly now: () => number

  constructor(now: () => number) {
    this.now = now
  }

  open(
    input: Pick<Family, "clientId" | "subject" | "resource" | "scopes">,
    ttlSeconds: number,
    refreshable: boolean
  ): Issued {
    const family: Family = { ...input, revoked: false, refreshTokens: [], accessTokens: [] }
    this.families.push(family)
    return this.issue(family, ttlSeconds, refreshable)
  }

  /** Redeems a refresh token; `undefined` is `invalid_grant`. */
  redeem(
    token: string,
    clientId: string,
    rotation: Rotation,
    ttlSeconds: number,
    idleSeconds?: number
  ): Issued | undefined {
    const row = this.refresh.get(token)
    if (row === undefined || row.family.clientId !== clientId || row.family.revoked) return undefined
    if (idleSeconds !== undefined && this.now() - row.touchedAt >= idleSeconds * 1000) return undefined
    if (rotation === "none") {
      row.touchedAt = this.now()
      return { ...this.issue(row.family, ttlSeconds, false), refreshToken: token }
    }
    if (row.usedAt !== undefined) {
      const grace = typeof rotation === "object" ? rotation.graceSeconds * 1000 : 0
      if (this.now() - row.usedAt >= grace) {
        if (rotation === "rotate-revoke-family") row.family.revoked = true
        return undefined
      }
    } else row.usedAt = this.now()
    return this.issue(row.family, ttlSeconds, true)
  }

  familyOf(token: string): Family | undefined {
    return this.refresh.get(token)?.family ?? this.access.get(token)?.family
  }

  /** Access token that is valid now. */
  active(token: string): AccessRow | undefined {
    const row = this.access.get(token)
    return row === undefined || row.family.revoked || row.expiresAt <= this.now() ? undefined : row
  }

  refreshable(token: string): boolean {
    const row = this.refresh.get(token)
    return row !== undefined && !row.family.revoked
  }

  private issue(family: Family, ttlSeconds: number, refreshable: boolean): Issued {
    const accessToken = Canary.makeText("access_token")
    family.accessTokens.push(accessToken)
    this.access.set(accessToken, { family, expiresAt: this.now() + ttlSeconds * 1000 })
    if (!refreshable) return { accessToken, refreshToken: undefined, family }
    const refreshToken = Canary.makeText("refresh_token")
    family.refreshTokens.push(refreshToken)
    this.refresh.set(refreshToken, { family, touchedAt: this.now() })
    return { accessToken, refreshToken, family }
  }
}
