import type { OutboxSecret } from "@valetkey/domain/RevocationOutbox"
import { isUnderTenantKey, keyIdOf, type SealContext, type Sealed } from "@valetkey/domain/Sealed"
import {
  contextOf,
  type SealedColumn,
  type SealedRow,
  SealedRows,
  type SealedTable,
  sealedTables
} from "@valetkey/domain/SealedRows"
import { Server } from "@valetkey/domain/Server"
import type { TenantId } from "@valetkey/domain/Tenant"
import { Effect, Layer } from "effect"
import { MemoryWorld } from "./MemoryWorld.ts"

type World = MemoryWorld["Service"]

/** Layer of `SealedRows` over the shared state. */
export const layer: Layer.Layer<SealedRows, never, MemoryWorld> = Layer.effect(
  SealedRows,
  Effect.map(MemoryWorld, (world) =>
    SealedRows.of({
      counts: Effect.sync(() =>
        sealedTables.flatMap((table) => {
          const found = new Map<number, number>()
          for (const { envelopes } of rowsOf[table](world)) {
            for (const { sealed } of envelopes) {
              if (isUnderTenantKey(sealed)) continue
              const keyId = keyIdOf(sealed) ?? -1
              found.set(keyId, (found.get(keyId) ?? 0) + 1)
            }
          }
          return [...found].map(([keyId, envelopes]) => ({ table, keyId, envelopes }))
        })
      ),

      page: ({ after, keyIds, limit, table }) =>
        Effect.sync(() =>
          rowsOf[table](world)
            .map((row) => ({
              ...row,
              envelopes: row.envelopes.filter(({ sealed }) => keyIds.includes(keyIdOf(sealed) ?? -1))
            }))
            .filter((row) => row.envelopes.length > 0 && (after === undefined || compare(row.id, after) > 0))
            .sort((a, b) => compare(a.id, b.id))
            .slice(0, limit)
        ),

      replace: (rows) =>
        Effect.sync(() => {
          let replaced = 0
          for (const { row, sealed } of rows) {
            const current = rowsOf[row.table](world).find(({ id }) => compare(id, row.id) === 0)
            if (current === undefined || current.generation !== row.generation) continue
            const isUnchanged = row.envelopes.every(({ context, sealed }) =>
              current.envelopes.some((one) => one.context.field === context.field && same(one.sealed, sealed))
            )
            if (!isUnchanged) continue
            const fresh = new Map(row.envelopes.map(({ context }, index) => [context.field, sealed[index]!]))
            write[row.table](world, row.id, fresh)
            replaced++
          }
          return replaced
        })
    }))
)

const present = (
  contextOf: (field: SealContext["field"]) => SealContext,
  sealed: { readonly [Field in SealContext["field"]]?: Sealed | undefined }
): ReadonlyArray<SealedColumn> =>
  Object.entries(sealed).flatMap(([field, sealed]) =>
    sealed === undefined || sealed.byteLength === 0
      ? []
      : [{ context: contextOf(field as SealContext["field"]), sealed }]
  )

const rowsOf: { readonly [Table in SealedTable]: (world: World) => ReadonlyArray<SealedRow> } = {
  connections: (world) =>
    [...world.connections.values()].map(({ connection }) => {
      const { account, clientSecret, credentials, epoch, generation, key } = connection
      const row = { table: "connections", id: [key.tenant, key.subject, key.server], generation } as const
      return {
        ...row,
        envelopes: present((field) => contextOf({ ...row, epoch }, field), {
          access_token: credentials.accessToken,
          refresh_token: credentials.refreshToken,
          client_secret: clientSecret,
          account
        })
      }
    }),
  flows: (world) =>
    [...world.flows.values()].map(({ authorization, code, device, flow, ticket }) => {
      const row = { table: "flows", id: [flow.key.tenant, flow.id], generation: 0 } as const
      return {
        ...row,
        envelopes: present((field) => contextOf(row, field), {
          code_verifier: authorization?.codeVerifier,
          client_secret: authorization?.clientSecret ?? device?.frozen.clientSecret,
          authorization_code: code,
          authorization_url: ticket?.authorizationUrl,
          device_code: device?.frozen.deviceCode
        })
      }
    }),
  registrations: (world) =>
    [...world.registrations].map(([path, { clientSecret }]) => {
      const row = { table: "registrations", id: path.split("/").map(decodeURIComponent), generation: 0 } as const
      return { ...row, envelopes: present((field) => contextOf(row, field), { client_secret: clientSecret }) }
    }),
  servers: (world) =>
    [...world.servers.values()].map(({ client, slug, tenant }) => {
      const row = { table: "servers", id: [tenant, slug], generation: 0 } as const
      return { ...row, envelopes: present((field) => contextOf(row, field), { client_secret: client?.clientSecret }) }
    }),
  revocations: (world) =>
    [...world.outbox.values()].map(({ revocation: { accessToken, clientSecret, id, key, refreshToken } }) => ({
      table: "revocations",
      id: [key.tenant, id],
      generation: 0,
      envelopes: [accessToken, refreshToken, clientSecret].flatMap((secret) => secret === undefined ? [] : [secret])
    })),
  tenant_keys: (world) =>
    [...world.tenantKeys].map(([tenant, { dataKey, id }]) => {
      const row = { table: "tenant_keys", id: [tenant, String(id)], generation: 0 } as const
      return { ...row, envelopes: present((field) => contextOf(row, field), { data_key: dataKey }) }
    })
}

type Fresh = ReadonlyMap<SealContext["field"], Sealed>

const write: { readonly [Table in SealedTable]: (world: World, id: ReadonlyArray<string>, fresh: Fresh) => void } = {
  connections: (world, id, fresh) => {
    const path = id.map(encodeURIComponent).join("/")
    const row = world.connections.get(path)!
    const { account, clientSecret, credentials } = row.connection
    const refreshToken = fresh.get("refresh_token") ?? credentials.refreshToken
    world.connections.set(path, {
      ...row,
      connection: {
        ...row.connection,
        clientSecret: fresh.get("client_secret") ?? clientSecret,
        account: fresh.get("account") ?? account,
        credentials: {
          ...credentials,
          accessToken: fresh.get("access_token") ?? credentials.accessToken,
          ...(refreshToken === undefined ? {} : { refreshToken })
        }
      }
    })
  },
  flows: (world, [, id], fresh) => {
    const row = world.flows.get(id as never)!
    world.flows.set(row.flow.id, {
      ...row,
      authorization: row.authorization && {
        ...row.authorization,
        codeVerifier: fresh.get("code_verifier") ?? row.authorization.codeVerifier,
        clientSecret: fresh.get("client_secret") ?? row.authorization.clientSecret
      },
      code: fresh.get("authorization_code") ?? row.code,
      ticket: row.ticket && {
        ...row.ticket,
        authorizationUrl: fresh.get("authorization_url") ?? row.ticket.authorizationUrl
      },
      device: row.device && {
        ...row.device,
        frozen: {
          ...row.device.frozen,
          deviceCode: fresh.get("device_code") ?? row.device.frozen.deviceCode,
          clientSecret: fresh.get("client_secret") ?? row.device.frozen.clientSecret
        }
      }
    })
  },
  registrations: (world, id, fresh) => {
    const path = id.map(encodeURIComponent).join("/")
    world.registrations.set(path, {
      ...world.registrations.get(path)!,
      clientSecret: fresh.get("client_secret")!
    })
  },
  servers: (world, id, fresh) => {
    const path = id.map(encodeURIComponent).join("/")
    const server = world.servers.get(path)!
    const client = { ...server.client!, clientSecret: fresh.get("client_secret")! }
    world.servers.set(path, Server.make({ ...server, client }))
  },
  revocations: (world, [, id = ""], fresh) => {
    const row = world.outbox.get(id)!
    const { accessToken, clientSecret, refreshToken } = row.revocation
    const renewed = (field: SealContext["field"], secret: OutboxSecret | undefined) =>
      secret && { ...secret, sealed: fresh.get(field) ?? secret.sealed }
    world.outbox.set(id, {
      ...row,
      revocation: {
        ...row.revocation,
        accessToken: renewed("access_token", accessToken),
        refreshToken: renewed("refresh_token", refreshToken),
        clientSecret: renewed("client_secret", clientSecret)
      }
    })
  },
  tenant_keys: (world, [tenant, id], fresh) => {
    world.tenantKeys.set(tenant as TenantId, { id: Number(id), dataKey: fresh.get("data_key")! })
  }
}

const same = (a: Uint8Array, b: Uint8Array): boolean =>
  a.byteLength === b.byteLength && a.every((byte, index) => byte === b[index])

const compare = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): number => {
  for (let index = 0; index < a.length; index++) {
    if (a[index]! !== b[index]!) return a[index]! < b[index]! ? -1 : 1
  }
  return 0
}
