import { Context, DateTime, Effect, Layer, Option, Redacted, Schema } from "effect"
import { TokenError } from "./AccessToken.ts"
import type { Account, NamedAccount } from "./Account.ts"
import { Archive, ArchivedConnection, type ArchivedServer } from "./Archive.ts"
import { archiveFormat, archiveVersion, maxArchive } from "./ArchiveLimits.ts"
import { type ArchiveRecipient, ArchiveSealer, type RecipientInvalid } from "./ArchiveSealer.ts"
import type { AuditTrail } from "./AuditTrail.ts"
import { Cipher, type CipherError } from "./Cipher.ts"
import { type Connection, ConnectionKey, type Generation, sealContext } from "./Connection.ts"
import type { ConnectionStore } from "./ConnectionStore.ts"
import { openAccount } from "./internal/accounts.ts"
import { makeAuditing } from "./internal/auditing.ts"
import { unbind } from "./internal/boundSecrets.ts"
import { makeOwnRows } from "./internal/ownRow.ts"
import type { Server, ServerSlug } from "./Server.ts"
import { ServerStore } from "./ServerStore.ts"
import type { StoreError } from "./StoreError.ts"
import type { SubjectId } from "./Subject.ts"
import type { TenantId } from "./Tenant.ts"

/** Error of an export that has nothing to hold, or more than one archive may. Nothing was opened for anybody. */
export class ExportRefused extends Schema.TaggedError<ExportRefused>("valetkey/ExportRefused")("ExportRefused", {
  code: Schema.Literals(["nothing_to_export", "archive_too_large"])
}) {
  override get message() {
    return this.code === "nothing_to_export"
      ? "No connection can be exported: an archive holds connections that are active and have a refresh token"
      : "The connections do not fit into one archive; name fewer of them"
  }
}

/** Why a connection is not in an archive: its state, a stored secret that does not open, or a server whose tokens stay here. */
export type LeftBehind = "needs_reauth" | "quarantined" | "no_refresh_token" | "integrity_error" | "proxied"

/** An archive and what is in it. The archive is ciphertext, the rest holds no secret. */
export interface Exported {
  readonly archive: Uint8Array
  /** What it holds, with the generation that was read: `Connections.forget` takes it. */
  readonly connections: ReadonlyArray<{ readonly server: ServerSlug; readonly generation: Generation }>
  readonly left: ReadonlyArray<{ readonly server: ServerSlug; readonly reason: LeftBehind }>
}

const pageSize = 100

/** Use case: taking connections elsewhere. No secret leaves but inside of an archive that is sealed to its recipient. */
export class Exports extends Context.Service<Exports, {
  /**
   * Seals the owner's connections, or those of the named servers, and records an event for each that the archive holds
   * before it returns. Stored connections stay as they are: until one side forgets, both hold the same refresh token.
   */
  seal(input: {
    readonly tenant: TenantId
    readonly subject: SubjectId
    readonly servers?: ReadonlyArray<ServerSlug> | undefined
    readonly to: ArchiveRecipient
  }): Effect.Effect<Exported, ExportRefused | RecipientInvalid | TokenError | CipherError | StoreError>
}>()("@valetkey/domain/Exports") {
  /** Layer of the use case. */
  static readonly layer: Layer.Layer<
    Exports,
    never,
    ArchiveSealer | AuditTrail | Cipher | ConnectionStore | ServerStore
  > = Layer.effect(
    Exports,
    Effect.gen(function*() {
      const rows = yield* makeOwnRows
      const servers = yield* ServerStore
      const cipher = yield* Cipher
      const sealer = yield* ArchiveSealer
      const audit = yield* makeAuditing

      const all = Effect.fnUntraced(function*(tenant: TenantId, subject: SubjectId) {
        const found: Array<Connection> = []
        while (true) {
          const page = yield* rows.list({ tenant, subject, after: found.at(-1)?.key.server, limit: pageSize })
          found.push(...page)
          if (page.length < pageSize) return found
        }
      })

      const named = (tenant: TenantId, subject: SubjectId, names: ReadonlyArray<ServerSlug>) =>
        Effect.forEach(
          [...new Set(names)],
          (server) =>
            Effect.flatMap(rows.get(new ConnectionKey({ tenant, subject, server })), (found) =>
              Option.isNone(found) || found.value.status._tag === "revoking"
                ? Effect.fail(new TokenError({ code: "connection_not_found" }))
                : Effect.succeed(found.value))
        )

      /** Opens a connection for its archive, or says why it stays. */
      const open = Effect.fnUntraced(function*(connection: Connection) {
        const { clientSecret, credentials, epoch, generation, grant, key, status } = connection
        if (status._tag === "needs_reauth" || status._tag === "quarantined") return status._tag
        if (credentials.refreshToken === undefined) return "no_refresh_token" as const
        const definition = yield* servers.get(key.tenant, key.server)
        const isKept = Option.isSome(definition) && definition.value.tokens === "proxied" || grant.keeps !== undefined
        if (isKept) return "proxied" as const
        const secrets = yield* Effect.all({
          refreshToken: cipher.open(sealContext(key, epoch, "refresh_token", generation), credentials.refreshToken),
          accessToken: cipher.open(sealContext(key, epoch, "access_token", generation), credentials.accessToken),
          clientSecret: clientSecret === undefined
            ? Effect.undefined
            : cipher.open(sealContext(key, epoch, "client_secret", 0), clientSecret),
          account: openAccount(cipher, connection)
        }).pipe(
          // One damaged row is told and does not keep the others from being saved.
          Effect.catch((error) => error.code === "integrity_error" ? Effect.undefined : Effect.fail(error))
        )
        if (secrets === undefined) return "integrity_error" as const
        const refreshToken = unbind(secrets.refreshToken)
        const { secret: accessToken } = unbind(secrets.accessToken)
        const archived: ArchivedConnection = {
          server: key.server,
          ...(Option.isNone(definition) ? {} : { definition: definitionOf(definition.value, grant.clientId) }),
          ...grant,
          ...(secrets.clientSecret === undefined ? {} : { clientSecret: secrets.clientSecret }),
          refreshToken: refreshToken.secret,
          ...(refreshToken.proofKey === undefined ? {} : { proofKey: refreshToken.proofKey }),
          // A deposit that nobody has used yet holds an empty one.
          ...(Redacted.value(accessToken) === "" ? {} : { accessToken }),
          tokenType: credentials.tokenType,
          ...(credentials.scopes === undefined ? {} : { scopes: credentials.scopes }),
          ...(credentials.expiresAt === undefined ? {} : { expiresAt: credentials.expiresAt }),
          ...(credentials.refreshExpiresAt === undefined ? {} : { refreshExpiresAt: credentials.refreshExpiresAt }),
          ...(connection.grantedAt === undefined ? {} : { grantedAt: connection.grantedAt }),
          ...(secrets.account === undefined ? {} : { account: nameOf(secrets.account) })
        }
        return archived
      })

      return Exports.of({
        seal: Effect.fn("Exports.seal")(function*({ servers: names, subject, tenant, to }) {
          const found = (yield* names === undefined ? all(tenant, subject) : named(tenant, subject, names))
            .filter(({ status }) => status._tag !== "revoking")
          const connections: Array<ArchivedConnection> = []
          const held: Array<Exported["connections"][number]> = []
          const left: Array<Exported["left"][number]> = []
          let size = 0
          for (const connection of found) {
            const opened = yield* open(connection)
            if (typeof opened === "string") {
              left.push({ server: connection.key.server, reason: opened })
              continue
            }
            connections.push(opened)
            held.push({ server: opened.server, generation: connection.generation })
            // Counted as it grows: what does not fit is not collected first.
            size += sizeOf(opened)
            if (size > maxArchive) return yield* new ExportRefused({ code: "archive_too_large" })
          }
          if (connections.length === 0) return yield* new ExportRefused({ code: "nothing_to_export" })
          const document = yield* encode({
            format: archiveFormat,
            version: archiveVersion,
            exportedAt: yield* DateTime.now,
            connections
          })
          const archive = yield* sealer.seal(document, to)
          for (const [index, { generation, server }] of held.entries()) {
            yield* audit(new ConnectionKey({ tenant, subject, server }), "connection.exported", "ok", generation, {
              purpose: "refresh_token",
              value: connections[index]!.refreshToken
            })
          }
          return { archive, connections: held, left }
        })
      })
    })
  )
}

const encodeArchive = Schema.encodeEffect(Schema.fromJsonString(Archive))
const encodeConnection = Schema.encodeSync(Schema.fromJsonString(ArchivedConnection))

const encode = (archive: Archive): Effect.Effect<Redacted.Redacted> =>
  Effect.map(Effect.orDie(encodeArchive(archive)), (text) => Redacted.make(text))

const sizeOf = (connection: ArchivedConnection): number => new TextEncoder().encode(encodeConnection(connection)).length

/** What its new place needs to know the account again. */
const nameOf = ({ replacedAt: _, ...account }: Account): NamedAccount => account

/** The server as it is to be found again. The secret of a client by hand is in the connection that uses it, or stays here. */
const definitionOf = ({ client, slug: _, tenant: __, ...server }: Server, clientId: string): ArchivedServer => ({
  ...server,
  ...(client === undefined || (client.authMethod !== "none" && client.clientId !== clientId) ? {} : {
    client: {
      clientId: client.clientId,
      authMethod: client.authMethod,
      ...(client.redirectUri === undefined ? {} : { redirectUri: client.redirectUri })
    }
  })
})
