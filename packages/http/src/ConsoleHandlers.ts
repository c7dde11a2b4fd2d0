import { ApiProblem } from "@valetkey/api/ApiProblem"
import { CurrentPrincipal } from "@valetkey/api/Principal"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { Consoles } from "@valetkey/domain/Consoles"
import { Effect, Redacted } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { orProblem } from "./DomainProblem.ts"
import { PublicAddress } from "./PublicAddress.ts"

/** Layer of the endpoint that makes links into the console. */
export const layer = HttpApiBuilder.group(
  ValetkeyApi,
  "console",
  Effect.fnUntraced(function*(handlers) {
    const consoles = yield* Consoles
    const findAddress = yield* PublicAddress
    return handlers.handleAll({
      open: Effect.fnUntraced(function*() {
        const address = yield* findAddress
        if (address === undefined) return yield* unreachable
        const { compareCode, expiresAt, ticket } = yield* orProblem(consoles.link(yield* CurrentPrincipal))
        const base = address.href.replace(/[/]+$/, "")
        return { consoleUrl: Redacted.make(`${base}/console/${Redacted.value(ticket)}`), compareCode, expiresAt }
      })
    })
  })
)

const unreachable = ApiProblem.of(
  "public_url_missing",
  "The console is on the public pages, and this server has none: set VALETKEY_PUBLIC_URL"
)
