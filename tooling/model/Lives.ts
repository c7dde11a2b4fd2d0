import type { Connection } from "@valetkey/domain/Connection"
import type { ConnectionRow } from "@valetkey/store-memory/MemoryWorld"
import type { Case } from "./Case.ts"
import type { Issued } from "./Provider.ts"
import type { Redemptions } from "./Redemptions.ts"

/** Holds the rows of connections, one life after another, against I3, I4, I10 and I23. */
export class Lives {
  readonly #case: Case
  readonly #redemptions: Redemptions
  readonly #rows = new Map<string, ConnectionRow>()
  readonly #orders = new Map<string, number>()
  /** Refresh tokens of lives that a disconnect ended. */
  readonly #owed = new Set<string>()
  readonly #ended = new Set<string>()
  readonly #rejected = new Map<string, number>()

  constructor(history: Case, redemptions: Redemptions) {
    this.#case = history
    this.#redemptions = redemptions
  }

  /** The epochs that a disconnect ended. */
  get ended(): ReadonlySet<string> {
    return this.#ended
  }

  /** Access tokens that a row called rejected, in the order of that. */
  get rejected(): ReadonlyMap<string, number> {
    return this.#rejected
  }

  /** The row of a key as the last turn left it. */
  rowOf(path: string): ConnectionRow | undefined {
    return this.#rows.get(path)
  }

  /** The first consent of a key whose tokens may be handed out from now on. */
  floor(path: string): number {
    const order = this.#orders.get(path) ?? 0
    const status = this.#case.evidence.world.connections.get(path)?.connection.status._tag
    return status === undefined || status === "revoking" ? order + 1 : order
  }

  /** Looks at what the turn has changed. */
  look(paths: ReadonlyArray<string>): void {
    for (const path of paths) {
      const [before, after] = [this.#rows.get(path), this.#case.evidence.world.connections.get(path)]
      if (before === after) continue
      if (after === undefined) {
        this.#rows.delete(path)
        if (before?.connection.status._tag !== "revoking") {
          this.#case.broken("I4", "a connection is gone that nobody ended")
        }
      } else {
        this.#rows.set(path, after)
        this.#changed(path, before, after)
      }
    }
  }

  /** Looks back at what was owed. */
  end(): void {
    for (const token of this.#owed) {
      if (!this.#case.evidence.provider.revoked.has(token)) {
        this.#case.broken("I23", "the refresh token of a disconnected connection lives on")
      }
    }
  }

  #changed(path: string, before: ConnectionRow | undefined, { connection }: ConnectionRow): void {
    const { epoch, generation, rejected, status } = connection
    if (connection.key.path !== path) this.#case.broken("I10", "a row belongs to another key than its own")
    const former = before?.connection
    if (status._tag === "revoking") {
      if (former === undefined || former.epoch === epoch) return
      const refreshToken = this.#case.evidence.vault.reveal(former.credentials.refreshToken)
      if (refreshToken !== undefined) this.#owed.add(refreshToken)
      this.#ended.add(former.epoch)
      return
    }
    const issued = this.#issuedOf(connection)
    if (issued === undefined) return
    if (former?.epoch !== epoch) {
      if (issued.redeemed !== undefined || issued.family.epoch !== undefined) {
        this.#case.broken("I4", "a new life of a connection began with the tokens of another")
      }
      if (former !== undefined && generation <= former.generation) {
        this.#case.broken("I4", `generation ${generation} was stored over ${former.generation}`)
      }
      const order = (this.#orders.get(path) ?? 0) + 1
      this.#orders.set(path, order)
      issued.family.epoch = epoch
      issued.family.order = order
      if (former !== undefined) this.#case.count(`consent over ${former.status._tag}`)
    } else {
      this.#moved(former, connection, issued)
    }
    if (rejected && !this.#rejected.has(issued.accessToken)) this.#rejected.set(issued.accessToken, this.#rejected.size)
  }

  /** What one life of a connection became. */
  #moved(former: Connection, connection: Connection, issued: Issued): void {
    const { credentials, epoch, generation, status } = connection
    const { vault } = this.#case.evidence
    const refreshToken = vault.reveal(credentials.refreshToken)
    const formerToken = vault.reveal(former.credentials.refreshToken)
    if (issued.family.epoch !== epoch) this.#case.broken("I4", "a refresh stored the tokens of another consent")
    if (generation === former.generation) {
      if (refreshToken !== formerToken || issued.accessToken !== vault.reveal(former.credentials.accessToken)) {
        this.#case.broken("I4", `the tokens of generation ${generation} changed`)
      }
    } else if (generation !== former.generation + 1) {
      this.#case.broken("I4", `generation ${generation} was stored over ${former.generation}`)
    } else {
      if (issued.redeemed !== formerToken) {
        this.#case.broken("I4", "a result was stored over another than it was redeemed from")
      }
      if (refreshToken !== (issued.refreshToken ?? formerToken)) {
        this.#case.broken("I3", "the refresh token that is in force was not stored")
      }
      if (former.status._tag !== "active") this.#case.count(`commit over ${former.status._tag}`)
    }
    if (status._tag === "needs_reauth" && former.status._tag === "active") {
      this.#redemptions.lost(connection, status.reason)
    }
  }

  #issuedOf({ credentials, key }: Connection): Issued | undefined {
    const { provider, vault } = this.#case.evidence
    const issued = provider.accessTokens.get(vault.reveal(credentials.accessToken) ?? "")
    if (issued === undefined) this.#case.broken("I3", "a row holds an access token that nobody issued")
    else if (issued.family.path !== key.path) this.#case.broken("I10", "a row holds the tokens of somebody else")
    return issued
  }
}
