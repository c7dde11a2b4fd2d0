import { ApiProblem } from "@valetkey/api/ApiProblem"
import { Authorization } from "@valetkey/api/Authorization"
import { EndpointPolicy, type Policy } from "@valetkey/api/Policy"
import { CurrentPrincipal, type Principal } from "@valetkey/api/Principal"
import { repeatsName } from "@valetkey/api/RepeatedNames"
import { classOf, CurrentOrigin } from "@valetkey/domain/AuditOrigin"
import { Tenants } from "@valetkey/domain/Tenants"
import { Context, Effect, Layer, Option, Redacted } from "effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import { Authenticator } from "./Authenticator.ts"
import { orProblem } from "./DomainProblem.ts"

/** Layer of `Authorization`: who calls is settled first, then what it may, and only then is the request looked at. */
export const layer: Layer.Layer<Authorization, never, Authenticator | Tenants> = Layer.effect(
  Authorization,
  Effect.gen(function*() {
    const authenticator = yield* Authenticator
    const tenants = yield* Tenants
    return Authorization.of({
      bearer: Effect.fnUntraced(function*(httpEffect, { credential, endpoint }) {
        const policy = Context.getOrUndefined(endpoint.annotations, EndpointPolicy)
        const principal = yield* admit(authenticator, tenants, policy, credential)
        if (yield* isAmbiguous) return yield* ambiguous
        return yield* as(principal, httpEffect)
      })
    })
  })
)

/** The principal of a credential, if the policy lets it in and its tenant is there. */
export const admit = Effect.fnUntraced(function*(
  authenticator: Authenticator["Service"],
  tenants: Tenants["Service"],
  policy: Policy | undefined,
  credential: Redacted.Redacted
) {
  if (Redacted.value(credential) === "") return yield* missing
  const principal = yield* authenticator.authenticate(credential).pipe(
    Effect.mapError((error) =>
      ApiProblem.of(error.code, error.message, error.code === "unauthorized" ? {} : { retryAfterSeconds: 5 })
    )
  )
  yield* permit(tenants, policy, principal)
  return principal
})

/** Lets a principal call what has this policy, or fails with the reason why it may not. */
export const permit = Effect.fnUntraced(function*(
  tenants: Tenants["Service"],
  policy: Policy | undefined,
  principal: Principal
) {
  const refusal = refuse(policy, principal)
  if (refusal !== undefined) return yield* refusal
  if (isOfTenant(policy)) yield* orProblem(tenants.admitted(principal.tenant))
})

/** Does something on behalf of a principal, from where its request came. */
export const as = <A, E, R>(principal: Principal, effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ remoteAddress }) =>
    effect.pipe(
      Effect.provideService(CurrentPrincipal, principal),
      Effect.provideService(CurrentOrigin, {
        principal: principal.kind,
        from: classOf(Option.getOrUndefined(remoteAddress))
      })
    ))

/** Why a principal may not call, or undefined when it may. Without a policy nobody may. */
export const refuse = (policy: Policy | undefined, principal: Principal): ApiProblem | undefined => {
  if (policy?._tag !== "Guarded" || !policy.kinds.includes(principal.kind)) {
    return ApiProblem.of("forbidden", "Callers of this kind may not use this endpoint")
  }
  return policy.scopes.every((scope) => principal.scopes.includes(scope)) ? undefined : ApiProblem.of(
    "forbidden",
    "The credential lacks a scope that this endpoint needs; ask for a credential that has it",
    { requiredScopes: policy.scopes }
  )
}

/** Whether an endpoint acts for its caller's tenant. What every tenant shares is for operators, whatever became of theirs. */
const isOfTenant = (policy: Policy | undefined): boolean =>
  policy?._tag !== "Guarded" || !policy.scopes.includes("operator")

/** Whether a JSON body says a thing twice: who checks it and who uses it might not read the same one (RFC 8259 §4). */
const isAmbiguous = Effect.gen(function*() {
  const request = yield* HttpServerRequest.HttpServerRequest
  if (!/^application\/(?:[\w.+-]+\+)?json\b/i.test(request.headers["content-type"] ?? "")) return false
  // A body that cannot be read is answered by whoever decodes it.
  return yield* Effect.orElseSucceed(Effect.map(request.text, repeatsName), () => false)
})

const ambiguous = ApiProblem.of("invalid_request", "The body names a property twice; send each once")

const missing = ApiProblem.of("unauthorized", "A credential is needed; send it as Authorization: Bearer")
