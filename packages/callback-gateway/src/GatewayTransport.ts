import { type CallbackTransport, TransportError } from "@valetkey/domain/CallbackTransport"
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
export const make = ({ publicUrl }: GatewayOptions): Effect.Effect<CallbackTransport> =>
  Effect.succeed({
    kind: "gateway",
    stateless: true,
    // Nobody but ourselves could fetch a document from elsewhere (OAuth Client ID Metadata Document, §3).
    ...(publicUrl?.protocol === "https:"
      ? {
        describe: (context: string) => ({
          clientId: clientId(publicUrl, context),
          redirectUri: redirectUri(publicUrl, context)
        }),
        describeKeyed: (context: string, key: PublicKey) => {
          const id = keyedClientId(publicUrl, context, key)
          return id === undefined ? undefined : { clientId: id, redirectUri: redirectUri(publicUrl, context) }
        }
      }
      : {}),
    open: ({ context }) =>
      publicUrl === undefined
        ? Effect.fail(new TransportError({ code: "public_url_missing", transport: "gateway" }))
        : Effect.succeed({
          redirectUri: redirectUri(publicUrl, context),
          connectUrl: (ticket) => Redacted.make(`${baseOf(publicUrl)}/connect/${Redacted.value(ticket)}`)
        })
  })

/** The redirect URI of a connection context, below whatever path the public URL has. */
export const redirectUri = (publicUrl: URL, context: string): string =>
  `${baseOf(publicUrl)}/callback/${encodeURIComponent(context)}`

/** The client id metadata document of a connection context: one for each, because it names the redirect URI. */
export const clientId = (publicUrl: URL, context: string): string =>
  `${baseOf(publicUrl)}/oauth/${encodeURIComponent(context)}/client-metadata.json`

/** The document that names a key besides: the key is in its URL, so that every replica can serve it and keeps nothing. */
export const keyedClientId = (publicUrl: URL, context: string, key: PublicKey): string | undefined =>
  key.kty === "EC" && key.crv === "P-256"
    ? `${baseOf(publicUrl)}/oauth/${encodeURIComponent(context)}/${key.x}.${key.y}/client-metadata.json`
    : undefined

const baseOf = ({ origin, pathname }: URL): string => `${origin}${pathname.replace(/\/+$/, "")}`
