import { ApiKeyId } from "@valetkey/domain/ApiKey"
import { ApiKeyStore } from "@valetkey/domain/ApiKeyStore"
import type { ConnectionKey } from "@valetkey/domain/Connection"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { ConsoleSessionId } from "@valetkey/domain/ConsoleSession"
import { ConsoleStore } from "@valetkey/domain/ConsoleStore"
import type { DevicePolls } from "@valetkey/domain/DevicePolls"
import { Digest } from "@valetkey/domain/Entropy"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { type RegistrationKey, RegistrationStore } from "@valetkey/domain/RegistrationStore"
import type { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { rowOf } from "@valetkey/domain/Sealed"
import { Server, ServerSlug } from "@valetkey/domain/Server"
import { ServerStore } from "@valetkey/domain/ServerStore"
import { SubjectId } from "@valetkey/domain/Subject"
import type { TenantId } from "@valetkey/domain/Tenant"
import { TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import type { TenantStore } from "@valetkey/domain/TenantStore"
import { Duration, Effect, Option } from "effect"
import { randomBytes } from "node:crypto"
import * as Fixture from "./contractFixtures.ts"

/** The ports that the contract writes through. */
export type Ports =
  | ApiKeyStore
  | ConnectionStore
  | ConsoleStore
  | DevicePolls
  | FlowStore
  | RegistrationStore
  | RevocationOutbox
  | ServerStore
  | TenantKeyStore
  | TenantStore

/** How long what is owed keeps a tenant from being erased. */
export const patience = Duration.hours(1)
export const step = { patience, limit: 100 }

/** One row of every kind: a connection that is active, one that is being revoked, an open flow and all the rest. */
export const fill = Effect.fnUntraced(function*(tenant: TenantId) {
  const connections = yield* ConnectionStore
  const [connected, revoking] = [Fixture.newKey({ tenant }), Fixture.newKey({ tenant })]
  const writes = [Fixture.newWrite(0), Fixture.newWrite(0)] as const
  yield* connections.deposit(connected, writes[0])
  yield* connections.deposit(revoking, writes[1])
  yield* connections.disconnect(revoking, Fixture.newEpoch())
  const { flow } = yield* Fixture.reserve(Fixture.newKey({ tenant }))
  const registration = registrationOf(tenant)
  yield* putRegistration(registration)
  const document = yield* recordDocument(tenant, randomBytes(16).toString("hex"))
  yield* putServer(tenant)
  yield* createApiKey(tenant)
  const session = yield* enterConsole(tenant)
  yield* createKey(tenant)
  return {
    tenant,
    connected,
    revoking,
    flow,
    registration,
    document,
    session,
    owed: [connected, revoking].map((key, index) =>
      rowOf(key.tenant, key.subject, key.server, writes[index]!.epoch, "1")
    )
  }
})

/** What a tenant was filled with. */
export type Filled = Effect.Success<ReturnType<typeof fill>>

/** What became of both connections and of the flow. */
export const statuses = ({ connected, flow, revoking }: Filled) =>
  Effect.gen(function*() {
    const connections = yield* ConnectionStore
    const flows = yield* FlowStore
    const of = (key: ConnectionKey) =>
      Effect.map(connections.get(key), Option.match({ onNone: () => "none", onSome: ({ status }) => status._tag }))
    const found = yield* flows.get({ id: flow.id, ...Fixture.ownerOf(flow.key) })
    const state = Option.match(found, { onNone: () => "none", onSome: ({ state }) => state })
    return [yield* of(connected), yield* of(revoking), state]
  })

/** How many rows of the other kinds there are. */
export const rest = Effect.fnUntraced(function*(tenant: TenantId, { registration, session }: Filled) {
  const page = { tenant, after: undefined, limit: 10 }
  const found = yield* Effect.flatMap(RegistrationStore, (store) => store.get(registration))
  return {
    sessions: Option.isSome(
        yield* Effect.flatMap(
          ConsoleStore,
          (store) => store.visit({ sessionHash: session, idle: patience, coarseness: patience })
        )
      )
      ? 1
      : 0,
    apiKeys: (yield* Effect.flatMap(ApiKeyStore, (store) => store.list(page))).length,
    registrations: Option.isSome(found) ? 1 : 0,
    servers: (yield* Effect.flatMap(ServerStore, (store) => store.list(page))).length
  }
})

export const registrationOf = (tenant: TenantId): RegistrationKey => ({
  tenant,
  server: ServerSlug.make("notes"),
  issuer: "https://as.example",
  transport: "loopback"
})

export const putRegistration = (key: RegistrationKey) =>
  Effect.flatMap(RegistrationStore, (store) =>
    store.put(key, {
      clientId: "client",
      authMethod: "client_secret_basic",
      clientSecret: Fixture.newSealed(),
      redirectUri: "http://127.0.0.1/callback",
      scopes: []
    }))

/** A document of a client, which is to be found until the tenant's last revocation has been signed. */
export const recordDocument = (tenant: TenantId, name: string) => {
  const clientId = `https://valetkey.example/oauth/${name}/x.y/client-metadata.json`
  return Effect.as(Effect.flatMap(RegistrationStore, (store) => store.record(tenant, clientId)), clientId)
}

export const isRecorded = ({ document }: Filled) =>
  Effect.flatMap(RegistrationStore, (store) => store.isOnRecord(document))

export const putServer = (tenant: TenantId) =>
  Effect.flatMap(ServerStore, (store) =>
    store.put(
      new Server({ tenant, slug: ServerSlug.make("notes"), resource: "https://notes.example/mcp", quirks: {} })
    ))

/** A session of the console, by the hash of its secret. */
export const enterConsole = Effect.fnUntraced(function*(tenant: TenantId) {
  const store = yield* ConsoleStore
  const [ticketHash, sessionHash] = [newDigest(), newDigest()]
  const id = ConsoleSessionId.make(randomBytes(16).toString("hex"))
  yield* store.offer({ id, tenant, subject: SubjectId.make("ada"), scopes: [] }, { ticketHash, within: patience })
  yield* store.take({ ticketHash, sessionHash, lifetime: patience })
  return sessionHash
})

const newDigest = () => Digest.make(randomBytes(32).toString("base64url"))

export const createApiKey = (tenant: TenantId) =>
  Effect.flatMap(ApiKeyStore, (store) =>
    store.create({
      id: ApiKeyId.make(`vk_${randomBytes(16).toString("hex")}`),
      tenant,
      subject: SubjectId.make("ada"),
      name: "job",
      scopes: ["tokens:read"]
    }, { digest: Fixture.newDigest(), lifetime: Duration.days(1) }))

export const createKey = (tenant: TenantId) =>
  Effect.flatMap(
    TenantKeyStore,
    (store) => store.create(tenant, { id: randomBytes(4).readUInt32BE(), dataKey: Fixture.newSealed() })
  )

/** The code by which a write is refused, or `done`. */
export const refusal = <A, R>(write: Effect.Effect<A, { readonly code: string }, R>): Effect.Effect<string, never, R> =>
  Effect.match(write, { onFailure: ({ code }) => code, onSuccess: () => "done" })
