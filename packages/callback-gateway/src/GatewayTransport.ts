import { type CallbackTransport, type OpenRequest, TransportError } from "@valetkey/domain/CallbackTransport"
import { DocumentTags } from "@valetkey/domain/DocumentTags"
import type { PublicKey } from "@valetkey/domain/SigningKey"
import { Effect, Redacted } from "effect"

/** Where the public listener is reached. */
export interface GatewayOptions {
  /** From configuration alone, never from a request. Undefined when this installation has none. */
  readonly publicUrl: URL | undefined
}

/**
 * Makes the transport whose redirect URI is a public endpoint that any replica serves, one path for each connection
 * context. It opens nothing: the endpoint hands responses to `Flows.complete` with the context of its path. Any browser
 * reaches it, so a browser binds itself on the connect page first.
 *
 * @see RFC 9700 §4.4
 */
export const make = ({ publicUrl }: GatewayOptions): Effect.Effect<CallbackTransport, never, DocumentTags> =>
  Effect.map(DocumentTags, (tags) => ({
    kind: "gateway" as const,
    stateless: true,
    // Nobody but ourselves could fetch a document from elsewhere (OAuth Client ID Metadata Document, §3).
    ...(publicUrl?.protocol === "https:"
      ? {
        describe: (context: string) => ({
          clientId: clientId(publicUrl, context),
          redirectUri: redirectUri(publicUrl, context)
        }),
        describeKeyed: Effect.fnUntraced(function*(context: string, key: PublicKey) {
          const written = writtenKey(key)
          if (written === undefined) return undefined
          const tag = yield* tags.issue(context, written)
          return {
            clientId: keyedClientId(publicUrl, context, `${written}.${tag}`),
            redirectUri: redirectUri(publicUrl, context)
          }
        }),
        isKeyed: (clientId: string, context: string, key: PublicKey) => {
          const written = writtenKey(key)
          if (written === undefined) return false
          const [, tag] = clientId.split(written, 2)
          return tag !== undefined && clientId === keyedClientId(publicUrl, context, written + tag.split("/", 1)[0])
        }
      }
      : {}),
    open: ({ context }: OpenRequest) =>
      publicUrl === undefined
        ? Effect.fail(new TransportError({ code: "public_url_missing", transport: "gateway" }))
        : Effect.succeed({
          redirectUri: redirectUri(publicUrl, context),
          connectUrl: (ticket: Redacted.Redacted) =>
            Redacted.make(`${baseOf(publicUrl)}/connect/${Redacted.value(ticket)}`)
        })
  }))

/** The redirect URI of a connection context, below whatever path the public URL has. */
export const redirectUri = (publicUrl: URL, context: string): string =>
  `${baseOf(publicUrl)}/callback/${encodeURIComponent(context)}`

/** The client id metadata document of a connection context: one for each, because it names the redirect URI. */
export const clientId = (publicUrl: URL, context: string): string =>
  `${baseOf(publicUrl)}/oauth/${encodeURIComponent(context)}/client-metadata.json`

/**
 * The document that names a key besides: the key is in its URL, so that every replica can serve it and keeps nothing, and
 * so is the tag that makes it ours.
 */
const keyedClientId = (publicUrl: URL, context: string, key: string): string =>
  `${baseOf(publicUrl)}/oauth/${encodeURIComponent(context)}/${key}/client-metadata.json`

const writtenKey = (key: PublicKey): string | undefined =>
  key.kty === "EC" && key.crv === "P-256" ? `${key.x}.${key.y}` : undefined

const baseOf = ({ origin, pathname }: URL): string => `${origin}${pathname.replace(/\/+$/, "")}`
