import { Server } from "@valetkey/domain/Server"
import { ServerStore } from "@valetkey/domain/ServerStore"
import { Effect, Layer, Option } from "effect"
import { sealedOf } from "./internal/columns.ts"
import { fromJson } from "./internal/openDatabase.ts"
import { CorruptRow } from "./internal/storeError.ts"
import { SqliteDatabase } from "./SqliteDatabase.ts"

/** Layer of `ServerStore` over the database. */
export const layer: Layer.Layer<ServerStore, never, SqliteDatabase> = Layer.effect(
  ServerStore,
  Effect.map(SqliteDatabase, (database) =>
    ServerStore.of({
      get: (tenant, slug) =>
        database.read("get", (session) =>
          Option.map(
            Option.fromUndefinedOr(session.one<ServerColumns>(
              "SELECT * FROM servers WHERE tenant = ? AND slug = ?",
              tenant,
              slug
            )),
            serverOf
          )),

      list: ({ after, limit, tenant }) =>
        database.read("list", (session) =>
          session.all<ServerColumns>(
            "SELECT * FROM servers WHERE tenant = ? AND slug > ? ORDER BY slug LIMIT ?",
            tenant,
            after ?? "",
            limit
          ).map(serverOf)),

      put: (server) =>
        database.write("put", (session) => {
          const { client, slug, tenant, ...rest } = server
          const { clientSecret, ...publicClient } = client ?? {}
          const description = JSON.stringify({ ...rest, client: client && publicClient })
          const created = session.one("SELECT 1 FROM servers WHERE tenant = ? AND slug = ?", tenant, slug) === undefined
          session.run(
            "INSERT OR REPLACE INTO servers (tenant, slug, description, client_secret) VALUES (?, ?, ?, ?)",
            tenant,
            slug,
            description,
            clientSecret ?? null
          )
          return created
        }),

      remove: (tenant, slug) =>
        database.write("remove", (session) =>
          session.run("DELETE FROM servers WHERE tenant = ? AND slug = ?", tenant, slug) === 1)
    }))
)

interface ServerColumns {
  readonly tenant: Server["tenant"]
  readonly slug: Server["slug"]
  readonly description: string
  readonly client_secret: Uint8Array | null
}

const serverOf = ({ client_secret, description, slug, tenant }: ServerColumns): Server => {
  const { client, ...rest } = fromJson<Omit<Server, "tenant" | "slug">>(description)
  try {
    return Server.make({
      ...rest,
      tenant,
      slug,
      ...(client && {
        client: client_secret === null ? client : { ...client, clientSecret: sealedOf(client_secret) }
      })
    })
  } catch (cause) {
    throw new CorruptRow({ cause })
  }
}
