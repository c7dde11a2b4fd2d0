import { ConnectionKey, Epoch } from "@valetkey/domain/Connection"
import { Digest } from "@valetkey/domain/Entropy"
import { FlowId } from "@valetkey/domain/Flow"
import type { ConnectionWrite, FlowStore } from "@valetkey/domain/FlowStore"
import { Sealed } from "@valetkey/domain/Sealed"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { DateTime, Duration, Effect, Option } from "effect"
import { randomBytes, randomUUID } from "node:crypto"

/** Whose flows they are. */
export const tenant = TenantId.make("bench")
/** What they lead to. */
export const server = ServerSlug.make("notes")

/** What a start through the gateway writes. */
export const newFlow = () => ({
  id: FlowId.make(randomUUID()),
  key: new ConnectionKey({ tenant, subject: SubjectId.make(randomUUID()), server }),
  transport: "gateway" as const,
  confirmation: "none" as const,
  onConflict: "reject" as const,
  ttl: Duration.minutes(10),
  frozen: {
    authorization: {
      snapshot: {
        authorizationEndpoint: "https://as.example/authorize",
        redirectUri: "https://valetkey.example/callback/c0ffee",
        issRequired: false,
        scopes: ["read"],
        resource: "https://mcp.example/mcp"
      },
      grant: {
        issuer: "https://as.example",
        tokenEndpoint: "https://as.example/token",
        clientId: "bench",
        authMethod: "none" as const,
        redemptionPolicy: "retry-once" as const
      },
      stateHash: digest(),
      context: randomBytes(16).toString("base64url"),
      codeVerifier: Sealed.make(new Uint8Array(randomBytes(180)))
    },
    ticket: { ticketHash: digest(), authorizationUrl: Sealed.make(new Uint8Array(randomBytes(500))) }
  }
})

const digest = () => Digest.make(randomBytes(32).toString("base64url"))

/** What a start through the gateway writes. */
export type NewFlow = ReturnType<typeof newFlow>

/** A pending flow that no browser has to bind, with its owner and what its callback brings. */
export const newBegun = Effect.fnUntraced(function*(store: FlowStore["Service"]) {
  const { frozen: { authorization }, ...start } = newFlow()
  yield* store.reserve({ ...start, frozen: { authorization } })
  return { authorization, owner: { id: start.id, tenant: start.key.tenant, subject: start.key.subject } }
})

/** A flow whose callback came, with its owner; the fence is 1. */
export const newClaimed = Effect.fnUntraced(function*(store: FlowStore["Service"]) {
  const { authorization, owner } = yield* newBegun(store)
  const claim = { ...authorization, bindingHash: undefined, lease: Duration.minutes(1) }
  if (Option.isNone(yield* store.claim(claim))) return yield* Effect.die("the flow was not claimed")
  return { id: owner.id, owner }
})

/** The first credentials of a connection, of the size of real ones. */
export const newWrite = ({ frozen: { authorization } } = newFlow()): ConnectionWrite => ({
  epoch: Epoch.make(randomUUID()),
  previous: 0,
  grant: authorization.grant,
  credentials: {
    accessToken: Sealed.make(new Uint8Array(randomBytes(900))),
    refreshToken: Sealed.make(new Uint8Array(randomBytes(300))),
    tokenType: "Bearer",
    scopes: ["read"],
    issuedAt: DateTime.makeUnsafe(Date.now())
  }
})
