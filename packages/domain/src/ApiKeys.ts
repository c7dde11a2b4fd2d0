import { Clock, Context, Duration, Effect, Layer, Option, Redacted, Schema } from "effect"
import { type ApiKey, ApiKeyId, parseApiKey } from "./ApiKey.ts"
import { ApiKeyStore } from "./ApiKeyStore.ts"
import { Entropy } from "./Entropy.ts"
import { equalInConstantTime } from "./internal/constantTime.ts"
import type { StoreError } from "./StoreError.ts"
import type { SubjectId } from "./Subject.ts"
import type { TenantId } from "./Tenant.ts"

/** Error of naming an API key that the tenant does not have. */
export class ApiKeyNotFound
  extends Schema.TaggedError<ApiKeyNotFound>("valetkey/ApiKeyNotFound")("ApiKeyNotFound", {})
{
  readonly code = "api_key_not_found" as const
  override get message() {
    return "There is no API key of this id; list them to see which there are"
  }
}

/** What a new key may do, for whom, and how long. */
export interface ApiKeyDraft {
  readonly tenant: TenantId
  readonly subject: SubjectId
  readonly name: string
  readonly scopes: ReadonlyArray<string>
  readonly lifetime: Duration.Duration
}

/** How exact `lastUsedAt` is. */
export const usageCoarseness = Duration.hours(1)

/** Use case: credentials that an operator hands to programs. */
export class ApiKeys extends Context.Service<ApiKeys, {
  /** Makes a key. The credential is in this answer and nowhere else, ever. */
  create(
    draft: ApiKeyDraft
  ): Effect.Effect<{ readonly key: ApiKey; readonly credential: Redacted.Redacted }, StoreError>
  /** A page of the tenant's keys, ended ones included, after the given one. */
  list(input: {
    readonly tenant: TenantId
    readonly after: ApiKeyId | undefined
    readonly limit: number
  }): Effect.Effect<ReadonlyArray<ApiKey>, StoreError>
  /** Ends a key for good. Idempotent. */
  revoke(tenant: TenantId, id: ApiKeyId): Effect.Effect<void, ApiKeyNotFound | StoreError>
  /**
   * The live key that a credential is; none for any other text, whatever is wrong with it. One read; that a key is in use
   * is recorded beside it, at most once an hour, and never fails the call.
   */
  verify(credential: Redacted.Redacted): Effect.Effect<Option.Option<ApiKey>, StoreError>
}>()("@valetkey/domain/ApiKeys") {
  /** Layer of the use case. */
  static readonly layer: Layer.Layer<ApiKeys, never, ApiKeyStore | Entropy> = Layer.effect(
    ApiKeys,
    Effect.gen(function*() {
      const store = yield* ApiKeyStore
      const entropy = yield* Entropy
      const scope = yield* Effect.scope
      const noted = new Map<ApiKeyId, number>()

      /** Outside of the call: whoever uses a key does not wait for the bookkeeping. */
      const noteUse = Effect.fnUntraced(function*({ id, tenant }: ApiKey) {
        const now = yield* Clock.currentTimeMillis
        if ((noted.get(id) ?? -Infinity) + Duration.toMillis(usageCoarseness) > now) return
        if (noted.size >= 10_000) noted.delete(noted.keys().next().value!)
        noted.set(id, now)
        yield* store.touch(tenant, id, usageCoarseness).pipe(
          Effect.catchCause((cause) => Effect.logWarning("use of an API key not recorded", cause)),
          Effect.forkIn(scope)
        )
      })

      return ApiKeys.of({
        create: Effect.fn("ApiKeys.create")(function*({ lifetime, ...draft }) {
          const id = ApiKeyId.make(`vk_${(yield* entropy.id).replaceAll("-", "")}`)
          const secret = yield* entropy.secret
          const key = yield* store.create({ id, ...draft }, { digest: entropy.digest(secret), lifetime })
          return { key, credential: Redacted.make(`${id}_${Redacted.value(secret)}`) }
        }),
        list: store.list,
        revoke: Effect.fn("ApiKeys.revoke")(function*(tenant, id) {
          if (!(yield* store.revoke(tenant, id))) return yield* new ApiKeyNotFound()
        }),
        verify: Effect.fnUntraced(function*(credential) {
          const parsed = parseApiKey(Redacted.value(credential))
          if (parsed === undefined) return Option.none()
          const found = yield* store.findLive(parsed.id)
          if (Option.isNone(found)) return Option.none()
          const { digest, key } = found.value
          if (!equalInConstantTime(entropy.digestOf(parsed.secret), digest)) return Option.none()
          yield* noteUse(key)
          return Option.some(key)
        })
      })
    })
  )
}
