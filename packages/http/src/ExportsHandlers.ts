import type { ExportPayload } from "@valetkey/api/ExportsApi"
import { CurrentPrincipal } from "@valetkey/api/Principal"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import type { ArchiveRecipient } from "@valetkey/domain/ArchiveSealer"
import { Connections } from "@valetkey/domain/Connections"
import { Exports } from "@valetkey/domain/Exports"
import { Effect } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { orProblem } from "./DomainProblem.ts"
import { keyOf } from "./internal/callerKey.ts"

/** Layer of the export endpoints. */
export const layer = HttpApiBuilder.group(
  ValetkeyApi,
  "exports",
  Effect.fnUntraced(function*(handlers) {
    const exports = yield* Exports
    const connections = yield* Connections
    return handlers.handleAll({
      seal: Effect.fnUntraced(function*({ payload }) {
        const { subject, tenant } = yield* CurrentPrincipal
        return yield* orProblem(
          exports.seal({ tenant, subject, servers: payload.servers, to: recipientOf(payload) })
        )
      }),
      forget: Effect.fnUntraced(function*({ params, payload }) {
        yield* orProblem(connections.forget(yield* keyOf(params.server), payload.generation))
      })
    })
  })
)

/** The schema lets exactly one of both pass. */
const recipientOf = ({ passphrase, recipient = "" }: ExportPayload): ArchiveRecipient =>
  passphrase === undefined ? { _tag: "Recipient", recipient } : { _tag: "Passphrase", passphrase }
