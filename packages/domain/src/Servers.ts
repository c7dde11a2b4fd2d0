import { Context, Effect, Layer, Option, type Redacted } from "effect"
import { Cipher, type CipherError } from "./Cipher.ts"
import { Entropy } from "./Entropy.ts"
import { makeRules } from "./internal/serverRules.ts"
import type { RefreshTerms } from "./RefreshTerms.ts"
import type { Sealed } from "./Sealed.ts"
import {
  Server,
  type ServerSlug,
  type TokenCustody,
  type TokenDialect,
  type TokenEndpointAuthMethod,
  type UnattendedGrant
} from "./Server.ts"
import { sealContext, ServerNotFound, ServerStore } from "./ServerStore.ts"
import { type PublicKey, publicKeyOf } from "./SigningKey.ts"
import type { StoreError } from "./StoreError.ts"
import type { TenantId } from "./Tenant.ts"

/** A server as an operator describes it: the client's secret still open. */
export interface ServerDescription extends Omit<typeof Server.Encoded, "tenant" | "slug" | "client" | "grant"> {
  readonly grant?: UnattendedGrant
  readonly client?: {
    readonly clientId: string
    readonly authMethod: TokenEndpointAuthMethod
    /** With `private_key_jwt` its private key as a JWK; without one a key is made here. */
    readonly clientSecret?: Redacted.Redacted | undefined
    readonly redirectUri?: string | undefined
  } | undefined
}

/** What holds for every token of a server. */
export interface ServerRules {
  readonly resource: string | undefined
  readonly tokens: TokenCustody
  readonly refresh: RefreshTerms
  /** How its authorization server is spoken to; undefined where it speaks the standards. */
  readonly dialect?: TokenDialect | undefined
}

/** Use case: the servers of a tenant. */
export class Servers extends Context.Service<Servers, {
  get(tenant: TenantId, slug: ServerSlug): Effect.Effect<Server, ServerNotFound | StoreError>
  /**
   * What an operator said of a server's tokens; kept for a second, so that a token costs no read of its server. Of a name
   * that the tenant does not have nothing is known: credentials can be deposited for it all the same.
   */
  rulesOf(tenant: TenantId, slug: ServerSlug): Effect.Effect<ServerRules, StoreError>
  /** A page in the order of slugs, after the given one. */
  list(input: {
    readonly tenant: TenantId
    readonly after: ServerSlug | undefined
    readonly limit: number
  }): Effect.Effect<ReadonlyArray<Server>, StoreError>
  /**
   * Creates or replaces a server. A client secret is sealed before anything is written; without a key nothing is. A
   * signing key that was made here stays through a replacement that leaves client, resource, issuer and token endpoint as
   * they were: no key is ever shown to two authorization servers.
   */
  put(tenant: TenantId, slug: ServerSlug, description: ServerDescription): Effect.Effect<
    { readonly server: Server; readonly created: boolean },
    CipherError | StoreError
  >
  /** Removes a server; connections to it stay until they are disconnected. Idempotent. */
  remove(tenant: TenantId, slug: ServerSlug): Effect.Effect<void, StoreError>
}>()("@valetkey/domain/Servers") {
  /** Layer of the use case. */
  static readonly layer: Layer.Layer<Servers, never, Cipher | Entropy | ServerStore> = Layer.effect(
    Servers,
    Effect.gen(function*() {
      const store = yield* ServerStore
      const cipher = yield* Cipher
      const entropy = yield* Entropy
      const rules = yield* makeRules(store)

      /** What is stored of the means by which a client proves itself. */
      const proofOf = Effect.fnUntraced(function*(
        tenant: TenantId,
        slug: ServerSlug,
        client: NonNullable<ServerDescription["client"]>,
        description: Omit<ServerDescription, "client">
      ) {
        const signs = client.authMethod === "private_key_jwt"
        if (signs && client.clientSecret === undefined) {
          const former = Option.getOrUndefined(yield* store.get(tenant, slug))
          if (former !== undefined && keepsKey(former, client, description)) {
            const { clientSecret, publicKey } = former.client
            return { clientSecret, publicKey }
          }
        }
        const secret = client.clientSecret ?? (signs ? yield* entropy.signingKey : undefined)
        if (secret === undefined) return {}
        const publicKey = signs ? publicKeyOf(secret) : undefined
        return {
          clientSecret: yield* cipher.seal(sealContext(tenant, slug), secret),
          ...(publicKey === undefined ? {} : { publicKey })
        }
      })
      return Servers.of({
        rulesOf: rules.of,
        get: Effect.fnUntraced(function*(tenant, slug) {
          const server = yield* store.get(tenant, slug)
          return Option.isNone(server) ? yield* new ServerNotFound() : server.value
        }),
        list: store.list,
        put: Effect.fn("Servers.put")(function*(tenant, slug, { client, ...description }) {
          const proof = client && (yield* proofOf(tenant, slug, client, description))
          const server = new Server({
            ...description,
            tenant,
            slug,
            ...(client === undefined ? {} : {
              client: {
                clientId: client.clientId,
                authMethod: client.authMethod,
                ...proof,
                ...(client.redirectUri === undefined ? {} : { redirectUri: client.redirectUri })
              }
            })
          })
          return { server, created: yield* rules.changing(tenant, slug, store.put(server)) }
        }),
        remove: (tenant, slug) => Effect.asVoid(rules.changing(tenant, slug, store.remove(tenant, slug)))
      })
    })
  )
}

/** Whether the signing key of a server is for the same client at the same authorization server as before. */
const keepsKey = (
  former: Server,
  client: { readonly clientId: string },
  description: Omit<ServerDescription, "client">
): former is Server & { readonly client: { readonly clientSecret: Sealed; readonly publicKey: PublicKey } } =>
  former.client?.authMethod === "private_key_jwt" && former.client.clientSecret !== undefined &&
  former.client.publicKey !== undefined && former.client.clientId === client.clientId &&
  former.resource === description.resource && former.issuer === description.issuer &&
  former.endpoints?.token === description.endpoints?.token
