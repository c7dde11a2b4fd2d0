import type { Adapter, AdapterPayload } from "oidc-provider"

type Row = AdapterPayload

/** Storage of one provider. The provider's own memory adapter evicts after 1000 rows, which looks like a lost token. */
export class OidcStorage {
  private readonly rows = new Map<string, Map<string, Row>>()

  model(name: string): Map<string, Row> {
    const existing = this.rows.get(name)
    if (existing !== undefined) return existing
    const created = new Map<string, Row>()
    this.rows.set(name, created)
    return created
  }

  /** Ends the life of every row of a model at once. */
  expire(name: string): void {
    for (const row of this.model(name).values()) row.exp = 1
  }

  clear(): void {
    this.rows.clear()
  }

  adapter(name: string): Adapter {
    const find = (predicate: (row: Row) => boolean) => [...this.model(name).values()].find(predicate)
    return {
      upsert: async (id, payload) => void this.model(name).set(id, payload),
      find: async (id) => this.model(name).get(id),
      findByUid: async (uid) => find((row) => row.uid === uid),
      findByUserCode: async (userCode) => find((row) => row.userCode === userCode),
      consume: async (id) => {
        const row = this.model(name).get(id)
        if (row !== undefined) row.consumed = Math.floor(Date.now() / 1000)
      },
      destroy: async (id) => void this.model(name).delete(id),
      revokeByGrantId: async (grantId) => {
        for (const table of this.rows.values()) {
          for (const [id, row] of table) {
            if (row.grantId === grantId) table.delete(id)
          }
        }
      }
    }
  }
}
