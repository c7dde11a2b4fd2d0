import { Server } from "@valetkey/domain/Server"
import { ServerStore } from "@valetkey/domain/ServerStore"
import { Effect, Layer, Option, Schema } from "effect"
import { Database } from "./Database.ts"
import { storeError } from "./internal/failure.ts"

/** Layer of `ServerStore` on the table `servers`. */
export const layer: Layer.Layer<ServerStore, never, Database> = Layer.effect(
  ServerStore,
  Effect.map(Database, (database) =>
    ServerStore.of({
      get: (tenant, slug) =>
        database.forTenant(tenant).read("ServerStore.get", (sql) =>
          Effect.flatMap(
            sql`SELECT tenant, slug, definition, client_secret FROM servers WHERE tenant = ${tenant} AND slug = ${slug}`,
            ([row]) => row === undefined ? Effect.succeedNone : Effect.map(read("ServerStore.get", row), Option.some)
          )),

      list: (input) =>
        database.forTenant(input.tenant).read("ServerStore.list", (sql) =>
          Effect.flatMap(
            sql`SELECT tenant, slug, definition, client_secret FROM servers
              WHERE tenant = ${input.tenant} AND slug > ${input.after ?? ""} ORDER BY slug LIMIT ${input.limit}`,
            Effect.forEach((row) => read("ServerStore.list", row))
          )),

      put: ({ client, slug, tenant, ...definition }) => {
        const { clientSecret, ...open } = client ?? {}
        return database.forTenant(tenant).write("ServerStore.put", (sql) =>
          Effect.map(
            sql<
              { created: boolean }
            >`INSERT INTO servers (tenant, slug, definition, client_secret, created_at, updated_at)
              VALUES (${tenant}, ${slug}, ${
              sql.json(client === undefined ? definition : { ...definition, client: open })
            },
                ${clientSecret ?? null}, clock_timestamp(), clock_timestamp())
              ON CONFLICT (tenant, slug) DO UPDATE SET definition = excluded.definition,
                client_secret = excluded.client_secret, updated_at = excluded.updated_at
              RETURNING xmax = 0 AS created`,
            ([row]) => row?.created === true
          ))
      },

      remove: (tenant, slug) =>
        database.forTenant(tenant).write("ServerStore.remove", (sql) =>
          Effect.map(
            sql`DELETE FROM servers WHERE tenant = ${tenant} AND slug = ${slug} RETURNING slug`,
            (rows) => rows.length > 0
          ))
    }))
)

const ServerRow = Schema.Struct({
  tenant: Schema.String,
  slug: Schema.String,
  definition: Schema.Record(Schema.String, Schema.Unknown),
  clientSecret: Schema.NullOr(Schema.Uint8Array)
})

const decodeRow = Schema.decodeUnknownEffect(ServerRow)
const makeServer = Schema.decodeUnknownEffect(Server)

const read = (operation: string, row: unknown) =>
  decodeRow(row).pipe(
    Effect.flatMap(({ clientSecret, definition, slug, tenant }) => {
      const { client, ...rest } = definition
      return makeServer({
        ...rest,
        tenant,
        slug,
        ...(typeof client !== "object" || client === null
          ? undefined
          : { client: clientSecret === null ? client : { ...client, clientSecret } })
      })
    }),
    Effect.mapError((error) => storeError(operation, error))
  )
