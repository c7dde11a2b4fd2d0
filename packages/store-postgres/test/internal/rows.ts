import { ConnectionKey, Epoch, type Grant, type SealedCredentials } from "@valetkey/domain/Connection"
import { Digest } from "@valetkey/domain/Entropy"
import { FlowId, type FrozenAuthorization, type FrozenDevice } from "@valetkey/domain/Flow"
import { Sealed } from "@valetkey/domain/Sealed"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { DateTime, Duration } from "effect"
import { randomBytes, randomUUID } from "node:crypto"

/** A key that no other case uses, but for the given parts. */
export const newKey = (part: { readonly tenant?: string; readonly subject?: string } = {}): ConnectionKey =>
  new ConnectionKey({
    tenant: TenantId.make(part.tenant ?? `tenant-${randomUUID()}`),
    subject: SubjectId.make(part.subject ?? `subject-${randomUUID()}`),
    server: ServerSlug.make("github")
  })

/** A grant at an authorization server that does not exist. */
const grant: Grant = {
  issuer: "https://as.example",
  tokenEndpoint: "https://as.example/token",
  clientId: "client",
  authMethod: "none",
  redemptionPolicy: "retry-once"
}

/** Credentials whose secrets are random bytes. */
const newCredentials = (): SealedCredentials => ({
  accessToken: newSealed(),
  refreshToken: newSealed(),
  tokenType: "Bearer",
  issuedAt: DateTime.makeUnsafe(1_700_000_000_000)
})

/** What a depositor or a completing flow writes over `previous`. */
export const newWrite = (previous: number) => ({
  epoch: Epoch.make(randomUUID()),
  previous,
  grant,
  credentials: newCredentials()
})

/** What a start reserves. */
export const newStart = (key: ConnectionKey) => ({
  id: FlowId.make(randomUUID()),
  key,
  transport: "gateway" as const,
  confirmation: "none" as const,
  onConflict: "reject" as const,
  ttl: Duration.minutes(10)
})

/** What a start freezes. */
export const newAuthorization = (): FrozenAuthorization => ({
  snapshot: {
    authorizationEndpoint: "https://as.example/authorize",
    redirectUri: "https://valetkey.example/callback/context",
    issRequired: true,
    scopes: ["read"]
  },
  grant,
  stateHash: Digest.make(randomBytes(32).toString("base64url")),
  bindingHash: Digest.make(randomBytes(32).toString("base64url")),
  context: "context",
  codeVerifier: newSealed()
})

/** What a start on another device freezes; it is polled at once. */
export const newDevice = (): FrozenDevice => ({
  snapshot: { verificationUri: "https://as.example/device", scopes: ["read"] },
  grant,
  deviceCode: newSealed(),
  interval: Duration.zero,
  expiresIn: Duration.minutes(10)
})

/** How the right callback claims. */
export const rightCallback = ({ bindingHash, context, stateHash }: FrozenAuthorization) => ({
  stateHash,
  bindingHash,
  context,
  lease: Duration.minutes(1)
})

const newSealed = () => Sealed.make(new Uint8Array(randomBytes(48)))
