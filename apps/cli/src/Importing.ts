import { Effect, Redacted } from "effect"
import { CliFailure, failure } from "./CliFailure.ts"
import { plain } from "./Output.ts"
import type { Remote } from "./Remote.ts"
import { type Deposit, operations, type ServerDescription } from "./Wire.ts"

/** A connection that somebody else holds, and how its holder is told that it is ours now. */
export interface Candidate {
  readonly server: string
  readonly definition?: ServerDescription | undefined
  readonly deposit: Redacted.Redacted<Deposit>
  readonly source?: {
    readonly file: string
    /** Marks the source as taken and returns what it is called now. */
    readonly take: Effect.Effect<string, CliFailure>
  }
}

/** What became of one connection. Without `imported` nothing of it is kept here, unless `uncertain` says that it may be. */
export interface Report {
  readonly server: string
  readonly imported: boolean
  readonly uncertain?: true
  /** What became of the server's definition. */
  readonly definition?: "created" | "there" | "left_out"
  readonly taken?: string
  readonly code?: string
  readonly message?: string
}

/**
 * Imports one connection: its server's definition, then the deposit, which redeems the refresh token once; only then the
 * source is marked. The server forgets what could not be proved, so that two sides never go on with one grant.
 */
export const importOne = (remote: Remote, candidate: Candidate, replace: boolean): Effect.Effect<Report> =>
  Effect.gen(function*() {
    const { server, source } = candidate
    const definition = yield* define(remote, candidate)
    const kept: Report = { server, imported: true, ...(definition === undefined ? {} : { definition }) }
    const deposited = remote.call(operations.deposit, {
      server,
      deposit: Redacted.make({
        ...Redacted.value(candidate.deposit),
        verify: true,
        forgetUnproved: true,
        ...(replace ? { replace } : {})
      })
    })
    // Once the token is used nobody stops before the source is told: it must not go on with the old one.
    return yield* Effect.uninterruptibleMask((restore) =>
      restore(deposited).pipe(
        Effect.catch((told) => Effect.flatMap(settle(remote, server, told), (settled) => Effect.fail(settled))),
        Effect.andThen(source === undefined ? Effect.succeed(kept) : marked(source, kept))
      )
    )
  }).pipe(
    Effect.catch((told) =>
      Effect.succeed<Report>({
        server: candidate.server,
        imported: false,
        ...(told.details?.["uncertain"] === true ? { uncertain: true } : {}),
        code: told.code,
        message: told.message
      })
    )
  )

/** A source that cannot be marked does not undo the import; it is told. */
const marked = ({ take }: NonNullable<Candidate["source"]>, kept: Report): Effect.Effect<Report> =>
  Effect.match(take, {
    onFailure: ({ code, message }): Report => ({ ...kept, code, message }),
    onSuccess: (taken): Report => ({ ...kept, taken })
  })

/** Describes the server where it is unknown and the caller may; a name that means another server is refused. */
const define = Effect.fnUntraced(function*(remote: Remote, { definition, deposit, server }: Candidate) {
  const found = yield* remote.call(operations.server, server).pipe(
    Effect.catch((error) => error.code === "server_not_found" ? Effect.undefined : Effect.fail(error))
  )
  if (definition === undefined) return found === undefined ? undefined : "there" as const
  if (found !== undefined) {
    if (URL.parse(found.resource)?.href === URL.parse(definition.resource)?.href) return "there" as const
    return yield* failure(
      "name_taken",
      `The name ${server} belongs to ${plain(found.resource)} here; remove that server, or rename one of both`
    )
  }
  return yield* remote.call(operations.putServer, {
    server,
    description: withSecret(definition, Redacted.value(deposit))
  }).pipe(
    Effect.as("created" as const),
    // Tokens are handed out without a definition; a new consent would need it.
    Effect.catch((error) => error.code === "forbidden" ? Effect.succeed("left_out" as const) : Effect.fail(error))
  )
})

/** The secret of a client by hand is that of the connection which uses it, if both use it alike: no signing key is sent as a secret. */
const withSecret = ({ client, ...definition }: ServerDescription, deposit: Deposit): ServerDescription => {
  if (client === undefined || client.authMethod === "none") {
    return { ...definition, ...(client === undefined ? {} : { client }) }
  }
  const isAlike = (client.authMethod === "private_key_jwt") === (deposit.authMethod === "private_key_jwt")
  return isAlike && client.clientId === deposit.clientId && deposit.clientSecret !== undefined
    ? { ...definition, client: { ...client, clientSecret: deposit.clientSecret } }
    : definition
}

/** Codes of a redemption that is over and proved nothing, after which the server forgets what it was given. */
const unproved = new Set(["authorization_server_unavailable", "client_misconfigured", "deposit_refused"])

/** Codes after which nobody knows whether the deposit was stored, or its token redeemed. */
const uncertain = new Set([
  "internal",
  "refresh_in_progress",
  "server_unreachable",
  "store_unavailable",
  "unexpected_response"
])

/** Whether a deposit that failed so may be here all the same. */
export const isUncertain = ({ code }: CliFailure): boolean => uncertain.has(code)

/** The error of a deposit, with what is known of what it left behind. */
const settle = Effect.fnUntraced(function*(remote: Remote, server: string, told: CliFailure) {
  if (isUncertain(told)) return doubtful(server, told)
  return unproved.has(told.code) && !(yield* isGone(remote, server)) ? doubtful(server, told) : told
})

/** Whether the server has no connection of this name. */
const isGone = (remote: Remote, server: string): Effect.Effect<boolean> =>
  Effect.match(remote.call(operations.connection, server), {
    onFailure: ({ code }) => code === "connection_not_found",
    onSuccess: ({ status }) => status === "revoking"
  })

const doubtful = (server: string, { code, details, message }: CliFailure): CliFailure =>
  new CliFailure({
    code,
    sentence:
      `${message}. It may be here all the same, or used up: look at \`valetkey status ${server}\` before anything else uses the source`,
    details: { ...details, uncertain: true }
  })
