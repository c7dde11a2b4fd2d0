import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import { problems } from "./ApiProblem.ts"

/**
 * Outermost middleware of the whole API: refuses an endpoint without a policy, and answers every failure, decode errors
 * and defects included, as a problem with a correlation id.
 */
export class Boundary extends HttpApiMiddleware.Service<Boundary>()("@valetkey/api/Boundary", {
  error: problems(400, 413, 415, 421, 500, 503)
}) {}
