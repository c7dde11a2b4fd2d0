import { Context } from "effect"
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import { Authorization } from "./Authorization.ts"
import type { ApiScope, PrincipalKind } from "./Principal.ts"

/** Who may call an endpoint: anybody, or a principal of one of the kinds that holds all of the scopes. */
export type Policy =
  | { readonly _tag: "Open" }
  | {
    readonly _tag: "Guarded"
    readonly scopes: readonly [ApiScope, ...ReadonlyArray<ApiScope>]
    readonly kinds: ReadonlyArray<PrincipalKind>
  }

/** Annotation that carries the policy of an endpoint. An endpoint without it is refused. */
export class EndpointPolicy extends Context.Service<EndpointPolicy, Policy>()("@valetkey/api/EndpointPolicy") {}

/** Mark of an endpoint that went through `open` or `guarded`; `group` takes no other. */
export interface HasPolicy {
  readonly "~valetkey/policy": true
}

/** The endpoint with a policy that lets anybody in. */
export const open = <Endpoint extends HttpApiEndpoint.Constraint>(endpoint: Endpoint): Endpoint & HasPolicy =>
  annotated(endpoint, { _tag: "Open" }) as unknown as Endpoint & HasPolicy

/** The endpoint behind `Authorization`, with the scopes that its caller needs. */
export const guarded = <Endpoint extends HttpApiEndpoint.Constraint>(
  scopes: readonly [ApiScope, ...ReadonlyArray<ApiScope>],
  endpoint: Endpoint
): HttpApiEndpoint.AddMiddleware<Endpoint, Authorization> & HasPolicy =>
  annotated(endpoint, { _tag: "Guarded", scopes, kinds: ["jwt", "api_key", "local"] }).middleware(
    Authorization
  ) as unknown as HttpApiEndpoint.AddMiddleware<Endpoint, Authorization> & HasPolicy

/** The same for a browser's session in the console too. Every other endpoint refuses it. */
export const inConsole = <Endpoint extends HttpApiEndpoint.Constraint & HasPolicy>(endpoint: Endpoint): Endpoint => {
  const policy = Context.getOrUndefined((endpoint as unknown as HttpApiEndpoint.Top).annotations, EndpointPolicy)
  return policy?._tag === "Guarded"
    ? annotated(endpoint, { ...policy, kinds: [...policy.kinds, "console"] }) as unknown as Endpoint
    : endpoint
}

/** A group of endpoints that all have a policy. */
export const group = <
  const Id extends string,
  const Endpoints extends readonly [
    HttpApiEndpoint.Constraint & HasPolicy,
    ...ReadonlyArray<HttpApiEndpoint.Constraint & HasPolicy>
  ]
>(id: Id, ...endpoints: Endpoints): HttpApiGroup.HttpApiGroup<Id, Endpoints[number]> =>
  HttpApiGroup.make(id).add(...endpoints)

const annotated = (endpoint: HttpApiEndpoint.Constraint, policy: Policy): HttpApiEndpoint.Top =>
  (endpoint as HttpApiEndpoint.Top).annotate(EndpointPolicy, policy)
