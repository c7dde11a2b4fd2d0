import { ApiProblem } from "@valetkey/api/ApiProblem"
import { CurrentPrincipal } from "@valetkey/api/Principal"
import type { RevocationView } from "@valetkey/api/RevocationsApi"
import { ValetkeyApi } from "@valetkey/api/ValetkeyApi"
import { outcomeOf, ReceiptId, type RevocationReceipt } from "@valetkey/domain/RevocationReceipt"
import { RevocationNotFound, Revocations } from "@valetkey/domain/Revocations"
import { Duration, Effect, Option, Schema } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import { orProblem } from "./DomainProblem.ts"

const defaultLimit = 50

const decodeId = Schema.decodeUnknownOption(ReceiptId)

/** Layer of the endpoints of receipts. */
export const layer = HttpApiBuilder.group(
  ValetkeyApi,
  "revocations",
  Effect.fnUntraced(function*(handlers) {
    const revocations = yield* Revocations
    return handlers.handleAll({
      list: Effect.fnUntraced(function*({ query }) {
        const { subject, tenant } = yield* CurrentPrincipal
        const limit = query.limit ?? defaultLimit
        const found = yield* orProblem(revocations.list({
          tenant,
          subject,
          server: query.server,
          after: query.after,
          limit: limit + 1
        }))
        const page = found.slice(0, limit)
        return { revocations: page.map(viewOf), ...(found.length > limit ? { next: page.at(-1)!.id } : {}) }
      }),
      get: Effect.fnUntraced(function*({ params, query }) {
        const { subject, tenant } = yield* CurrentPrincipal
        const id = decodeId(params.id)
        if (Option.isNone(id)) return yield* ApiProblem.fromError(new RevocationNotFound())
        const owner = { tenant, subject, id: id.value }
        return viewOf(
          yield* orProblem(
            query.wait === undefined || query.wait === 0
              ? revocations.get(owner)
              : revocations.wait(owner, Duration.seconds(query.wait))
          )
        )
      })
    })
  })
)

/** A receipt as its owner may see it. */
const viewOf = (receipt: RevocationReceipt): RevocationView => ({
  id: receipt.id,
  server: receipt.key.server,
  cause: receipt.cause,
  outcome: outcomeOf(receipt),
  ...(receipt.accessToken === undefined ? {} : {
    accessToken: {
      outcome: receipt.accessToken,
      ...(receipt.accessTokenExpiresAt === undefined ? {} : { expiresAt: receipt.accessTokenExpiresAt })
    }
  }),
  ...(receipt.refreshToken === undefined ? {} : { refreshToken: { outcome: receipt.refreshToken } }),
  disconnectedAt: receipt.createdAt,
  attempts: receipt.attempts,
  ...(receipt.error === undefined ? {} : { error: receipt.error }),
  ...(receipt.nextAttemptAt === undefined ? {} : { nextAttemptAt: receipt.nextAttemptAt }),
  ...(receipt.settledAt === undefined ? {} : { settledAt: receipt.settledAt })
})
