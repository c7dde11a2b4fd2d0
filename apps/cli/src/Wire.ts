import type { ApiKeyCreated, ApiKeyPayload, ApiKeyView } from "@valetkey/api/ApiKeysApi"
import type { AuditEventView, AuditVerdictView } from "@valetkey/api/AuditApi"
import type { ConnectionView, DepositPayload, HistoryView } from "@valetkey/api/ConnectionsApi"
import type { ConsoleLinkView } from "@valetkey/api/ConsoleApi"
import type { ExportPayload, ExportView } from "@valetkey/api/ExportsApi"
import type {
  AlreadyConnected,
  FlowJoined,
  FlowOffered,
  FlowStarted,
  FlowVerifying,
  FlowView,
  StartPayload
} from "@valetkey/api/FlowsApi"
import type { InstanceView } from "@valetkey/api/InstanceApi"
import type { AddedKeyView, KeysView, RewrapView } from "@valetkey/api/KeysApi"
import type { RevocationView } from "@valetkey/api/RevocationsApi"
import type { ServerPayload, ServerView } from "@valetkey/api/ServersApi"
import type { ReadinessCheck } from "@valetkey/api/SystemApi"
import type { TenantView } from "@valetkey/api/TenantsApi"
import type { TokenPayload, TokenView } from "@valetkey/api/TokensApi"
import { Redacted } from "effect"

// The contract as JSON. Its schemas are types here and nothing else: to load and build them would take longer than most
// commands do, and what a command prints is what the server sent.

/** A connection on the wire. */
export type Connection = typeof ConnectionView.Encoded

/** What became of a connection on the wire. */
export type History = typeof HistoryView.Encoded

/** A flow on the wire. */
export type Flow = typeof FlowView.Encoded

/** What became of the tokens of a connection, on the wire. */
export type Revocation = typeof RevocationView.Encoded

/** A server on the wire. */
export type Server = typeof ServerView.Encoded

/** A deposit on the wire, secrets included. */
export type Deposit = typeof DepositPayload.Encoded

/** Which connections to export, and for whom, passphrase included. */
export type ExportRequest = typeof ExportPayload.Encoded

/** How an operator describes a server on the wire. */
export type ServerDescription = typeof ServerPayload.Encoded

/** An audit event on the wire. */
export type AuditEvent = typeof AuditEventView.Encoded

/** An API key on the wire. */
export type ApiKey = typeof ApiKeyView.Encoded

/** The root keys on the wire. */
export type Keys = typeof KeysView.Encoded

/** One condition of readiness on the wire. */
export type Check = typeof ReadinessCheck.Encoded

/** What a person consents with: a URL of the provider or of the connect page, or a code to enter on any device. */
export type Ready = typeof FlowStarted.Encoded | typeof FlowOffered.Encoded | typeof FlowVerifying.Encoded

/** What a start gives: what the person consents with, the flow of somebody else, or the connection that is there. */
export type Started =
  | Ready
  | typeof FlowJoined.Encoded
  | typeof AlreadyConnected.Encoded

/** A tenant on the wire. */
export type Tenant = typeof TenantView.Encoded

/** An access token on the wire. */
export type Token = typeof TokenView.Encoded

/** An operation of the contract: its request, and how an answer shows that it is one. */
export interface Operation<Input, Output> {
  readonly method: "DELETE" | "GET" | "POST" | "PUT"
  /** Path of an input; every part of it that a person chose is encoded. */
  path(input: Input): string
  body?(input: Input): unknown
  accepts(answer: unknown, status: number): answer is Output
}

/** The operations that the commands use. */
export const operations = {
  start: operation<typeof StartPayload.Encoded, Started>({
    method: "POST",
    path: () => "/v1/flows",
    body: (payload) => payload,
    accepts: (answer): answer is Started =>
      isReady(answer) ||
      has(answer, { flowId: "string", joined: "boolean" }) ||
      has(answer, { alreadyConnected: "boolean", connection: "object" })
  }),
  flow: operation<{ readonly flowId: string; readonly wait: number }, Flow>({
    method: "GET",
    path: ({ flowId, wait }) => `/v1/flows/${encodeURIComponent(flowId)}?wait=${wait}`,
    accepts: (answer): answer is Flow => has(answer, { flowId: "string", status: "string" })
  }),
  cancel: operation<string, undefined>({
    method: "DELETE",
    path: (flowId) => `/v1/flows/${encodeURIComponent(flowId)}`,
    accepts: isEmpty
  }),
  handOff: operation<{ readonly flowId: string; readonly transport: Flow["transport"] }, Ready>({
    method: "POST",
    path: ({ flowId }) => `/v1/flows/${encodeURIComponent(flowId)}/handoff`,
    body: ({ transport }) => ({ transport }),
    accepts: isReady
  }),
  paste: operation<{ readonly flowId: string; readonly address: Redacted.Redacted }, Flow>({
    method: "POST",
    path: ({ flowId }) => `/v1/flows/${encodeURIComponent(flowId)}/callback`,
    body: ({ address }) => ({ url: Redacted.value(address) }),
    accepts: (answer): answer is Flow => has(answer, { flowId: "string", status: "string" })
  }),
  connections: operation<
    string | undefined,
    { readonly connections: ReadonlyArray<Connection>; readonly next?: string }
  >({
    method: "GET",
    path: (after) => `/v1/connections?limit=100${after === undefined ? "" : `&after=${encodeURIComponent(after)}`}`,
    accepts: (answer): answer is { connections: Array<Connection>; next?: string } =>
      has(answer, { connections: "object" }) && Array.isArray(answer["connections"])
  }),
  connection: operation<string, Connection>({
    method: "GET",
    path: (server) => `/v1/connections/${encodeURIComponent(server)}`,
    accepts: (answer): answer is Connection => has(answer, { server: "string", status: "string" })
  }),
  history: operation<{ readonly server: string; readonly limit: number; readonly before: string | undefined }, History>(
    {
      method: "GET",
      path: ({ before, limit, server }) =>
        `/v1/connections/${encodeURIComponent(server)}/history?limit=${limit}${
          before === undefined ? "" : `&before=${encodeURIComponent(before)}`
        }`,
      accepts: (answer): answer is History => has(answer, { events: "object" }) && Array.isArray(answer["events"])
    }
  ),
  disconnect: operation<string, undefined>({
    method: "DELETE",
    path: (server) => `/v1/connections/${encodeURIComponent(server)}`,
    accepts: isEmpty
  }),
  deposit: operation<
    { readonly server: string; readonly deposit: Redacted.Redacted<Deposit> },
    { readonly created: boolean; readonly connection: Connection }
  >({
    method: "PUT",
    path: ({ server }) => `/v1/connections/${encodeURIComponent(server)}`,
    body: ({ deposit }) => Redacted.value(deposit),
    accepts: (answer): answer is { created: boolean; connection: Connection } =>
      has(answer, { created: "boolean", connection: "object" })
  }),
  forget: operation<{ readonly server: string; readonly generation: number }, undefined>({
    method: "POST",
    path: ({ server }) => `/v1/connections/${encodeURIComponent(server)}/forget`,
    body: ({ generation }) => ({ generation }),
    accepts: isEmpty
  }),
  exportConnections: operation<Redacted.Redacted<ExportRequest>, typeof ExportView.Encoded>({
    method: "POST",
    path: () => "/v1/export",
    body: Redacted.value,
    accepts: (answer): answer is typeof ExportView.Encoded =>
      has(answer, { archive: "string", connections: "object", left: "object" })
  }),
  openConsole: operation<undefined, typeof ConsoleLinkView.Encoded>({
    method: "POST",
    path: () => "/v1/console",
    accepts: (answer): answer is typeof ConsoleLinkView.Encoded =>
      has(answer, { consoleUrl: "string", compareCode: "string", expiresAt: "string" })
  }),
  revocations: operation<{ readonly server: string }, { readonly revocations: ReadonlyArray<Revocation> }>({
    method: "GET",
    path: ({ server }) => `/v1/revocations?server=${encodeURIComponent(server)}&limit=20`,
    accepts: (answer): answer is { revocations: Array<Revocation> } =>
      has(answer, { revocations: "object" }) && Array.isArray(answer["revocations"])
  }),
  revocation: operation<{ readonly id: string; readonly wait: number }, Revocation>({
    method: "GET",
    path: ({ id, wait }) => `/v1/revocations/${encodeURIComponent(id)}?wait=${wait}`,
    accepts: (answer): answer is Revocation => has(answer, { id: "string", outcome: "string" })
  }),
  token: operation<typeof TokenPayload.Encoded & { readonly server: string }, Token>({
    method: "POST",
    path: ({ server }) => `/v1/connections/${encodeURIComponent(server)}/token`,
    body: ({ server: _, ...demand }) => demand,
    accepts: (answer): answer is Token => has(answer, { accessToken: "string", tokenType: "string" })
  }),
  servers: operation<string | undefined, { readonly servers: ReadonlyArray<Server>; readonly next?: string }>({
    method: "GET",
    path: (after) => `/v1/servers?limit=100${after === undefined ? "" : `&after=${encodeURIComponent(after)}`}`,
    accepts: (answer): answer is { servers: Array<Server>; next?: string } =>
      has(answer, { servers: "object" }) && Array.isArray(answer["servers"])
  }),
  server: operation<string, Server>({
    method: "GET",
    path: (server) => `/v1/servers/${encodeURIComponent(server)}`,
    accepts: (answer): answer is Server => has(answer, { server: "string", resource: "string" })
  }),
  putServer: operation<
    { readonly server: string; readonly description: typeof ServerPayload.Encoded },
    { readonly created: boolean; readonly server: Server }
  >({
    method: "PUT",
    path: ({ server }) => `/v1/servers/${encodeURIComponent(server)}`,
    body: ({ description }) => description,
    accepts: (answer): answer is { created: boolean; server: Server } =>
      has(answer, { created: "boolean", server: "object" })
  }),
  removeServer: operation<string, undefined>({
    method: "DELETE",
    path: (server) => `/v1/servers/${encodeURIComponent(server)}`,
    accepts: isEmpty
  }),
  createApiKey: operation<typeof ApiKeyPayload.Encoded, typeof ApiKeyCreated.Encoded>({
    method: "POST",
    path: () => "/v1/api-keys",
    body: (payload) => payload,
    accepts: (answer): answer is typeof ApiKeyCreated.Encoded => has(answer, { credential: "string", apiKey: "object" })
  }),
  apiKeys: operation<string | undefined, { readonly apiKeys: ReadonlyArray<ApiKey>; readonly next?: string }>({
    method: "GET",
    path: (after) => `/v1/api-keys?limit=100${after === undefined ? "" : `&after=${encodeURIComponent(after)}`}`,
    accepts: (answer): answer is { apiKeys: Array<ApiKey>; next?: string } =>
      has(answer, { apiKeys: "object" }) && Array.isArray(answer["apiKeys"])
  }),
  revokeApiKey: operation<string, undefined>({
    method: "DELETE",
    path: (id) => `/v1/api-keys/${encodeURIComponent(id)}`,
    accepts: isEmpty
  }),
  audit: operation<
    { readonly after: number; readonly limit: number },
    { readonly events: ReadonlyArray<AuditEvent>; readonly next?: number }
  >({
    method: "GET",
    path: ({ after, limit }) => `/v1/audit?after=${after}&limit=${limit}`,
    accepts: (answer): answer is { events: Array<AuditEvent>; next?: number } =>
      has(answer, { events: "object" }) && Array.isArray(answer["events"])
  }),
  verifyAudit: operation<string | undefined, typeof AuditVerdictView.Encoded>({
    method: "GET",
    path: (expect) => `/v1/audit/verification${expect === undefined ? "" : `?expect=${encodeURIComponent(expect)}`}`,
    accepts: (answer): answer is typeof AuditVerdictView.Encoded =>
      has(answer, { intact: "boolean", head: "object", anchor: "object" })
  }),
  keys: operation<undefined, Keys>({
    method: "GET",
    path: () => "/v1/keys",
    accepts: (answer): answer is Keys =>
      has(answer, { keys: "object", unknown: "number" }) && Array.isArray(answer["keys"])
  }),
  addKey: operation<undefined, typeof AddedKeyView.Encoded>({
    method: "POST",
    path: () => "/v1/keys",
    accepts: (answer): answer is typeof AddedKeyView.Encoded => has(answer, { id: "number" })
  }),
  promoteKey: operation<number, undefined>({
    method: "POST",
    path: (id) => `/v1/keys/${id}/promote`,
    accepts: isEmpty
  }),
  rewrapKeys: operation<undefined, typeof RewrapView.Encoded>({
    method: "POST",
    path: () => "/v1/keys/rewrap",
    accepts: (answer): answer is typeof RewrapView.Encoded =>
      has(answer, { rewrapped: "number", moved: "number", failed: "number", done: "boolean" })
  }),
  retireKey: operation<number, undefined>({
    method: "POST",
    path: (id) => `/v1/keys/${id}/retire`,
    accepts: isEmpty
  }),
  instance: operation<undefined, typeof InstanceView.Encoded>({
    method: "GET",
    path: () => "/v1/instance",
    accepts: isInstance
  }),
  takeOver: operation<undefined, typeof InstanceView.Encoded>({
    method: "POST",
    path: () => "/v1/instance/takeover",
    body: () => ({ confirm: true }),
    accepts: isInstance
  }),
  tenant: operation<string, Tenant>({
    method: "GET",
    path: (tenant) => `/v1/tenants/${encodeURIComponent(tenant)}`,
    accepts: isTenant
  }),
  removeTenant: operation<string, Tenant>({
    method: "DELETE",
    path: (tenant) => `/v1/tenants/${encodeURIComponent(tenant)}`,
    accepts: isTenant
  }),
  allowTenant: operation<string, undefined>({
    method: "POST",
    path: (tenant) => `/v1/tenants/${encodeURIComponent(tenant)}/allow`,
    accepts: isEmpty
  }),
  ready: operation<undefined, { readonly ready: boolean; readonly checks: ReadonlyArray<Check> }>({
    method: "GET",
    path: () => "/readyz",
    accepts: (answer): answer is { ready: boolean; checks: Array<Check> } =>
      has(answer, { ready: "boolean", checks: "object" })
  })
}

/** What a server says about a refusal. */
export interface Problem {
  readonly code: string
  readonly detail: string
  readonly retryAfterSeconds?: number
  readonly [member: string]: unknown
}

/** Whether an answer is a problem of the contract's form (RFC 9457). */
export const isProblem = (answer: unknown): answer is Problem =>
  has(answer, { type: "string", code: "string", detail: "string" }) &&
  String(answer["type"]).startsWith("https://valetkey.dev/problems/")

function operation<Input, Output>(self: Operation<Input, Output>): Operation<Input, Output> {
  return self
}

function isReady(answer: unknown): answer is Ready {
  return has(answer, { flowId: "string", authorizationUrl: "string", expiresAt: "string" }) ||
    has(answer, { flowId: "string", connectUrl: "string", compareCode: "string", expiresAt: "string" }) ||
    has(answer, { flowId: "string", userCode: "string", verificationUri: "string", expiresAt: "string" })
}

function isInstance(answer: unknown): answer is typeof InstanceView.Encoded {
  return has(answer, { configured: "string", stored: "string" })
}

function isTenant(answer: unknown): answer is Tenant {
  return has(answer, { tenant: "string", state: "string", connections: "number", revocations: "number" })
}

function isEmpty(_: unknown, status: number): _ is undefined {
  return status === 204
}

function has(
  answer: unknown,
  members: Readonly<Record<string, "boolean" | "number" | "object" | "string">>
): answer is Record<string, unknown> {
  if (typeof answer !== "object" || answer === null) return false
  const found = answer as Record<string, unknown>
  return Object.entries(members).every(([name, type]) => typeof found[name] === type && found[name] !== null)
}
