import { ApiScope, Principal } from "@valetkey/api/Principal"
import { repeatsName } from "@valetkey/api/RepeatedNames"
import { Identity } from "@valetkey/api/Text"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { Duration, Effect, Layer, Redacted, Result, Schema } from "effect"
import { createRemoteJWKSet, customFetch } from "jose/jwks/remote"
import { jwtVerify, type JWTVerifyGetKey } from "jose/jwt/verify"
import { Authenticator, Unauthorized } from "./Authenticator.ts"
import { makeMemory } from "./internal/memory.ts"

/** Error of a secret that is too short to sign with: anybody could guess it. */
export class WeakSecret extends Schema.TaggedError<WeakSecret>("valetkey/WeakSecret")("WeakSecret", {}) {
  readonly code = "weak_secret" as const
  override get message() {
    return "The JWT secret must have at least 32 bytes; set VALETKEY_JWT_SECRET to a longer random value"
  }
}

/** What a token must say about itself. */
export interface JwtOptions {
  readonly issuer: string
  readonly audience: string
}

/** Layer that verifies tokens signed with a shared secret (HS256). */
export const layerSecret = (
  options: JwtOptions & { readonly secret: Redacted.Redacted }
): Layer.Layer<Authenticator, WeakSecret> =>
  Layer.effect(
    Authenticator,
    Effect.gen(function*() {
      const secret = new TextEncoder().encode(Redacted.value(options.secret))
      if (secret.byteLength < 32) return yield* new WeakSecret()
      const key = yield* Effect.promise(() =>
        crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["verify"])
      )
      return make(options, () => key, ["HS256"])
    })
  )

/** Where a set of public keys is published, and how it is read. */
export interface JwksOptions extends JwtOptions {
  readonly url: URL
  /** What reads the set; the platform's own by default. */
  readonly fetch?: typeof fetch | undefined
  /** How long a key that is not in the set is taken for unknown before the set is read again. Default 10 seconds. */
  readonly cooldown?: Duration.Input | undefined
}

/** Layer that verifies tokens signed by a key of a published set (RS256, ES256, EdDSA). New keys are found by themselves. */
export const layerJwks = (options: JwksOptions): Layer.Layer<Authenticator> =>
  Layer.sync(
    Authenticator,
    () =>
      make(
        options,
        createRemoteJWKSet(options.url, {
          timeoutDuration: 5000,
          cooldownDuration: Duration.toMillis(Duration.fromInputUnsafe(options.cooldown ?? Duration.seconds(10))),
          ...(options.fetch === undefined ? {} : { [customFetch]: options.fetch })
        }),
        ["RS256", "ES256", "EdDSA"]
      )
  )

/** Layer that verifies tokens signed by keys at hand, as `layerJwks` does. */
export const layerKeys = (options: JwtOptions & { readonly key: JWTVerifyGetKey }): Layer.Layer<Authenticator> =>
  Layer.sync(Authenticator, () => make(options, options.key, ["RS256", "ES256", "EdDSA"]))

/**
 * Decodes the claims of a verified token. `sub` and `tenant` are strings of printable ASCII (OpenID Connect Core §2);
 * scopes that are not ours are left out.
 */
export const decodeClaims = (claims: unknown): Result.Result<Principal, Schema.SchemaError> =>
  Result.map(
    decode(claims),
    ({ scope, sub, tenant }) =>
      new Principal({
        kind: "jwt",
        tenant,
        subject: sub,
        scopes: ApiScope.literals.filter((one) => scope?.split(" ").includes(one) === true)
      })
  )

const decode = Schema.decodeUnknownResult(Schema.Struct({
  sub: SubjectId.check(Identity),
  tenant: TenantId.check(Identity),
  scope: Schema.optionalKey(Schema.String)
}))

const make = (options: JwtOptions, key: JWTVerifyGetKey, algorithms: Array<string>): Authenticator["Service"] => {
  const memory = makeMemory<Principal>({ capacity: 10_000, seconds: 60 })
  const unauthorized = new Unauthorized({ code: "unauthorized" })
  const verify = (credential: string) =>
    Effect.tryPromise({
      try: () =>
        jwtVerify(credential, key, {
          algorithms,
          issuer: options.issuer,
          audience: options.audience,
          clockTolerance: 30,
          requiredClaims: ["exp"]
        }),
      catch: (cause) => new Unauthorized({ code: isRefusal(cause) ? "unauthorized" : "authentication_unavailable" })
    })
  return Authenticator.of({
    remembered: memory.get,
    authenticate: Effect.fnUntraced(function*(credential) {
      const text = Redacted.value(credential)
      const known = memory.get(text)
      if (known !== undefined) return known
      if (text.length > 8192) return yield* unauthorized
      const { payload } = yield* verify(text)
      const principal = decodeClaims(payload)
      // RFC 7519 §4: a claim that is there twice is refused, so that nobody reads another one than was meant.
      if (Result.isFailure(principal) || !Number.isFinite(payload.exp) || text.split(".", 2).some(isAmbiguous)) {
        return yield* unauthorized
      }
      memory.set(text, principal.success, payload.exp!)
      return principal.success
    })
  })
}

const isAmbiguous = (part: string): boolean => repeatsName(Buffer.from(part, "base64url").toString("utf8"))

/** Whether the token is refused, rather than that it could not be verified. */
const isRefusal = (cause: unknown): boolean =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" && cause.code.startsWith("ERR_J") &&
  !["ERR_JWKS_TIMEOUT", "ERR_JWKS_INVALID", "ERR_JOSE_GENERIC"].includes(cause.code)
