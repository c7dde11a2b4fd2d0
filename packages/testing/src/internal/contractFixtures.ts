import type { ApiKeyStore } from "@valetkey/domain/ApiKeyStore"
import type { AuditLog } from "@valetkey/domain/AuditLog"
import {
  type Connection,
  ConnectionKey,
  Epoch,
  Generation,
  type Grant,
  type SealedCredentials
} from "@valetkey/domain/Connection"
import type { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import type { ConsoleStore } from "@valetkey/domain/ConsoleStore"
import { type DevicePoll, DevicePolls } from "@valetkey/domain/DevicePolls"
import { Digest } from "@valetkey/domain/Entropy"
import {
  type Flow,
  FlowId,
  type FrozenAuthorization,
  type FrozenDevice,
  type FrozenTicket,
  type OnConflict,
  type TransportKind
} from "@valetkey/domain/Flow"
import { type ClaimedFlow, FlowStore } from "@valetkey/domain/FlowStore"
import type { InstanceStore } from "@valetkey/domain/InstanceStore"
import type { KeyRegister } from "@valetkey/domain/KeyRegister"
import type { PacingStore } from "@valetkey/domain/PacingStore"
import type { AttemptPolicy } from "@valetkey/domain/Refresh"
import type { RegistrationStore } from "@valetkey/domain/RegistrationStore"
import type { RenewalPlans } from "@valetkey/domain/RenewalPlans"
import type { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import type { RevocationReceipts } from "@valetkey/domain/RevocationReceipts"
import { Sealed } from "@valetkey/domain/Sealed"
import type { SealedRows } from "@valetkey/domain/SealedRows"
import { ServerSlug } from "@valetkey/domain/Server"
import type { ServerStore } from "@valetkey/domain/ServerStore"
import type { Signals } from "@valetkey/domain/Signals"
import type { Spool } from "@valetkey/domain/Spool"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import type { TenantKeyStore } from "@valetkey/domain/TenantKeyStore"
import type { TenantStore } from "@valetkey/domain/TenantStore"
import { DateTime, Duration, Effect, Option } from "effect"
import { randomBytes, randomUUID } from "node:crypto"

/** Every store port. */
export type StorePorts =
  | FlowStore
  | DevicePolls
  | ConnectionStore
  | PacingStore
  | RenewalPlans
  | RevocationOutbox
  | RevocationReceipts
  | RegistrationStore
  | ServerStore
  | InstanceStore
  | KeyRegister
  | SealedRows
  | ApiKeyStore
  | ConsoleStore
  | AuditLog
  | TenantStore
  | TenantKeyStore
  | Spool
  | Signals

/** What a suite must know of the adapter besides its layer. */
export interface ContractOptions<R> {
  /** Lets the time of the store's clock pass, or sets the clock back by a negative one: `TestClock.adjust`, or a shift. */
  readonly advance: (duration: Duration.Duration) => Effect.Effect<void, unknown, R>
  /**
   * Tampers with a tenant's chain of four events as somebody with the store at hand would: gives the second another
   * outcome, deletes it, exchanges it with the third, or deletes the fourth.
   */
  readonly tamper: (tenant: TenantId, how: "edit" | "delete" | "reorder" | "cut") => Effect.Effect<void, unknown, R>
  /** How many random histories the property tests play. Default 100. */
  readonly histories?: number | undefined
}

/** How often one refresh token may be sent. */
export type Policy = AttemptPolicy

/** A time to live that no slow test outruns on a real clock. */
export const ttl = Duration.minutes(10)

/** A lease that no slow test outruns on a real clock. */
export const lease = Duration.minutes(1)

/** How long a code is held; longer than a lease, so that a case may tell the two apart. */
const holding = Duration.minutes(3)

/** Longer than `holding`, shorter than `ttl`. */
export const pastHolding = Duration.minutes(4)

/** How long a ticket leads anywhere; shorter than `ttl`. */
export const ticketLife = Duration.minutes(5)

/** Longer than `ticketLife`, shorter than `ttl`. */
export const pastTicket = Duration.minutes(6)

/** Longer than `lease`, shorter than `ttl`. */
export const pastLease = Duration.minutes(2)

/** Longer than `ttl`. */
export const pastTtl = Duration.minutes(11)

/** A tenant that no other case uses. */
export const newTenant = (): TenantId => TenantId.make(`tenant ${randomUUID()}/ü`)

/** A connection key that no other case uses, with the given parts instead of fresh ones. */
export const newKey = (part: { tenant?: TenantId; subject?: string; server?: string } = {}): ConnectionKey =>
  ConnectionKey.make({
    tenant: part.tenant ?? newTenant(),
    subject: SubjectId.make(part.subject ?? `subject|${randomUUID()}`),
    server: ServerSlug.make(part.server ?? `server-${randomUUID()}`)
  })

/** The owner's part of a key, as the flow operations take it. */
export const ownerOf = (key: ConnectionKey): { readonly tenant: TenantId; readonly subject: SubjectId } => ({
  tenant: key.tenant,
  subject: key.subject
})

/** A fresh flow id. */
export const newFlowId = (): FlowId => FlowId.make(randomUUID())

/** A fresh epoch. */
export const newEpoch = (): Epoch => Epoch.make(randomUUID())

/** A digest of nothing known. */
export const newDigest = (): Digest => Digest.make(randomBytes(32).toString("base64url"))

/** Bytes that no other case uses; a store does not look inside. */
export const newSealed = (): Sealed => Sealed.make(new Uint8Array(randomBytes(48)))

/** A grant with every optional field. */
export const newGrant = (change: Partial<Grant> = {}): Grant => ({
  issuer: "https://as.example",
  tokenEndpoint: "https://as.example/token",
  revocationEndpoint: "https://as.example/revoke",
  clientId: `client-${randomUUID()}`,
  authMethod: "client_secret_basic",
  resource: "https://api.example/mcp",
  redemptionPolicy: "retry-once",
  ...change
})

/** Credentials with every optional field. */
export const newCredentials = (): SealedCredentials => ({
  accessToken: newSealed(),
  refreshToken: newSealed(),
  tokenType: "Bearer",
  scopes: ["read", "write:all"],
  issuedAt: DateTime.makeUnsafe(1_700_000_000_123),
  expiresAt: DateTime.makeUnsafe(1_700_003_600_123),
  refreshExpiresAt: DateTime.makeUnsafe(1_700_086_400_123)
})

/** What `start` freezes, with every optional field. */
export const newAuthorization = (change: Partial<FrozenAuthorization> = {}): FrozenAuthorization => ({
  snapshot: {
    authorizationEndpoint: "https://as.example/authorize",
    redirectUri: "https://valetkey.example/callback/ctx",
    issRequired: true,
    scopes: ["read"],
    resource: "https://api.example/mcp",
    returnTo: "https://app.example/connected?tab=1",
    openid: true,
    accountChange: "replace"
  },
  grant: newGrant(),
  stateHash: newDigest(),
  bindingHash: newDigest(),
  context: `ctx-${randomUUID()}`,
  codeVerifier: newSealed(),
  clientSecret: newSealed(),
  ...change
})

/** What a flow keeps whose browser binds itself. */
const newTicket = (): FrozenTicket => ({ ticketHash: newDigest(), authorizationUrl: newSealed() })

/** The pause between two polls of a device code; shorter than `lease`. */
export const pollInterval = Duration.seconds(5)

/** How long a device code lives; longer than a lease, shorter than `ttl`. */
const deviceLife = Duration.minutes(5)

/** Longer than `deviceLife`, shorter than `ttl`. */
export const pastDevice = Duration.minutes(6)

/** What `start` freezes for a device, with every optional field. */
export const newDevice = (change: Partial<FrozenDevice> = {}): FrozenDevice => ({
  snapshot: { verificationUri: "https://as.example/device", scopes: ["read"], resource: "https://api.example/mcp" },
  grant: newGrant(),
  deviceCode: newSealed(),
  clientSecret: newSealed(),
  interval: pollInterval,
  expiresIn: deviceLife,
  ...change
})

/** A code that waits for the embedding application. */
export const newHeld = () => ({ code: newSealed(), completionHash: newDigest(), ttl: holding })

/** What a flow or a depositor writes over `previous`. */
export const newWrite = (previous: number) => ({
  epoch: newEpoch(),
  previous,
  grant: newGrant(),
  clientSecret: newSealed(),
  credentials: newCredentials(),
  account: newSealed()
})

/** A typed generation. */
export const generation = (count: number): Generation => Generation.make(count)

/** Reserves the slot of a key. */
export const reserve = Effect.fnUntraced(function*(
  key: ConnectionKey,
  onConflict: OnConflict = "reject",
  transport: TransportKind = "gateway"
) {
  const flows = yield* FlowStore
  return yield* flows.reserve({
    id: newFlowId(),
    key,
    transport,
    confirmation: transport === "gateway" ? "finalize" : "none",
    onConflict,
    ttl
  })
})

/** Reserves and freezes a flow that waits for a device. */
export const deviceFlow = Effect.fnUntraced(function*(key: ConnectionKey, change: Partial<FrozenDevice> = {}) {
  const flows = yield* FlowStore
  const polls = yield* DevicePolls
  const { flow } = yield* reserve(key, "reject", "device")
  const device = newDevice(change)
  if (!(yield* flows.freeze(flow.id, device))) return yield* Effect.die("freeze refused a pending flow")
  const owner = { id: flow.id, ...ownerOf(key) }
  return {
    id: flow.id,
    key,
    owner,
    device,
    /** Takes whatever is due and gives this flow's poll, if it is among it. */
    take: Effect.map(
      polls.take({ limit: 1000, lease }),
      (taken) => Option.fromUndefinedOr(taken.find(({ id }) => id === flow.id))
    ),
    read: Effect.map(flows.get(owner), Option.getOrThrow)
  }
})

/** Reserves and freezes a flow. */
export const startFlow = Effect.fnUntraced(function*(
  key: ConnectionKey,
  change: Partial<FrozenAuthorization> = {},
  ticket?: FrozenTicket
) {
  const flows = yield* FlowStore
  const { flow } = yield* reserve(key)
  const authorization = newAuthorization(change)
  if (!(yield* flows.freeze(flow.id, authorization, ticket))) return yield* Effect.die("freeze refused a pending flow")
  return { id: flow.id, key, authorization }
})

/** Reserves and freezes a flow whose browser binds itself. */
export const ticketedFlow = Effect.fnUntraced(function*(key: ConnectionKey) {
  const flows = yield* FlowStore
  const ticket = newTicket()
  const started = yield* startFlow(key, { bindingHash: undefined }, ticket)
  const { ticketHash } = ticket
  return {
    ...started,
    ticket,
    bind: (bindingHash: Digest) => flows.bind({ ticketHash, bindingHash, within: ticketLife }),
    find: flows.findByTicket({ ticketHash, within: ticketLife })
  }
})

/** Claims the flow as its right callback does. */
export const claimFlow = Effect.fnUntraced(function*(authorization: FrozenAuthorization) {
  const flows = yield* FlowStore
  return yield* flows.claim({
    stateHash: authorization.stateHash,
    bindingHash: authorization.bindingHash,
    context: authorization.context,
    lease
  })
})

/** A flow that is being exchanged, with its claim. */
export const exchangingFlow = Effect.fnUntraced(function*(key: ConnectionKey) {
  const started = yield* startFlow(key)
  const claimed = yield* claimFlow(started.authorization)
  if (Option.isNone(claimed)) return yield* Effect.die("claim refused the right callback")
  return { ...started, claimed: claimed.value }
})

/** A flow whose code waits for the embedding application. */
export const heldFlow = Effect.fnUntraced(function*(key: ConnectionKey) {
  const flows = yield* FlowStore
  const flow = yield* exchangingFlow(key)
  const held = newHeld()
  if (!(yield* flows.hold(flow.id, flow.claimed.fence, held))) return yield* Effect.die("hold refused its claim")
  return { ...flow, held }
})

/** A flow in a form that compares by value. */
export const flowView = ({ createdAt, expiresAt, key, settledAt, ...rest }: Flow) => ({
  ...withoutUndefined(rest),
  key: key.path,
  createdAt: DateTime.toEpochMillis(createdAt),
  expiresAt: DateTime.toEpochMillis(expiresAt),
  settledAt: settledAt && DateTime.toEpochMillis(settledAt)
})

/** A claim in a form that compares by value. */
export const claimView = ({ authorization, key, ...rest }: ClaimedFlow) => ({
  ...rest,
  key: key.path,
  authorization: authorizationView(authorization)
})

/** A poll in a form that compares by value. */
export const pollView = ({ clientSecret, deviceCode, interval, key, ...rest }: DevicePoll) => ({
  ...rest,
  key: key.path,
  deviceCode: hex(deviceCode),
  clientSecret: clientSecret && hex(clientSecret),
  interval: Duration.toMillis(interval)
})

/** A frozen authorization in a form that compares by value. */
export const authorizationView = ({ clientSecret, codeVerifier, ...rest }: FrozenAuthorization) => ({
  ...withoutUndefined(rest),
  codeVerifier: hex(codeVerifier),
  clientSecret: clientSecret && hex(clientSecret)
})

/** Credentials in a form that compares by value. */
export const credentialsView = (
  { accessToken, expiresAt, issuedAt, refreshExpiresAt, refreshToken, ...rest }: SealedCredentials
) => ({
  ...withoutUndefined(rest),
  accessToken: hex(accessToken),
  refreshToken: refreshToken && hex(refreshToken),
  issuedAt: DateTime.toEpochMillis(issuedAt),
  expiresAt: expiresAt && DateTime.toEpochMillis(expiresAt),
  refreshExpiresAt: refreshExpiresAt && DateTime.toEpochMillis(refreshExpiresAt)
})

/** A connection in a form that compares by value. */
export const connectionView = (
  { account, clientSecret, createdAt, credentials, grantedAt, key, updatedAt, ...rest }: Connection
) => ({
  ...withoutUndefined(rest),
  key: key.path,
  clientSecret: clientSecret && hex(clientSecret),
  account: account && hex(account),
  credentials: credentialsView(credentials),
  grantedAt: grantedAt && DateTime.toEpochMillis(grantedAt),
  createdAt: DateTime.toEpochMillis(createdAt),
  updatedAt: DateTime.toEpochMillis(updatedAt)
})

/** Bytes in a form that compares by value, whatever kind of array holds them. */
export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

const withoutUndefined = <A extends object>(value: A): A =>
  Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as A
