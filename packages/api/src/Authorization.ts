import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpApiSecurity from "effect/http-api/HttpApiSecurity"
import { problems } from "./ApiProblem.ts"
import type { CurrentPrincipal } from "./Principal.ts"

/**
 * Middleware of every endpoint that is not open: turns the bearer credential into the principal and holds it against the
 * endpoint's policy, before anything of the request is decoded.
 *
 * @see RFC 6750 §2.1
 */
export class Authorization extends HttpApiMiddleware.Service<Authorization, {
  provides: CurrentPrincipal
  requires: never
}>()("@valetkey/api/Authorization", {
  requiredForClient: true,
  security: { bearer: HttpApiSecurity.bearer },
  error: problems(401, 403)
}) {}
