import type { ConnectionView } from "@valetkey/api/ConnectionsApi"
import type { ServerPayload, ServerView } from "@valetkey/api/ServersApi"
import { DateTime, type Duration, Effect, type Layer, ManagedRuntime, Redacted } from "effect"
import { locate } from "./Home.ts"
import * as ResourceFetch from "./ResourceFetch.ts"
import { ValetkeyClient } from "./ValetkeyClient.ts"

/** Where the server is: a URL with a token, a socket, or by default the local server of this user. */
export type Place =
  | { readonly url: string; readonly token: string }
  | { readonly socket: string; readonly tokenFile: string }
  | { readonly home?: string }

/** An access token in the open: hand it to the request and forget it. */
export interface OpenToken {
  readonly accessToken: string
  readonly tokenType: string
  readonly expiresAt: Date | undefined
  readonly scopes: ReadonlyArray<string> | undefined
  readonly generation: number
  /** The resource that it is for: send it nowhere else. */
  readonly resource: string | undefined
}

/** A Valetkey server for code without Effect. Every promise rejects with a `ClientError`; look at its `code`. */
export interface Client {
  token(
    server: string,
    options?: { readonly minValidity?: Duration.Input; readonly rejected?: string }
  ): Promise<OpenToken>
  /**
   * A `fetch` for the server's resource: it adds a fresh token, replaces it when the resource answers 401, and sends it to
   * no other origin. Rejects with a `ResourceError` besides.
   */
  fetch(server: string): typeof fetch
  connections(): Promise<ReadonlyArray<ConnectionView>>
  connection(server: string): Promise<ConnectionView>
  disconnect(server: string): Promise<void>
  servers(): Promise<ReadonlyArray<ServerView>>
  putServer(server: string, description: ServerPayload): Promise<boolean>
  /** Releases what the client holds. */
  close(): Promise<void>
}

/** Makes a client; nothing is sent before its first use. */
export const connect = (place: Place = {}): Client => {
  const runtime = ManagedRuntime.make(layerOf(place))
  const run = <A>(use: (client: ValetkeyClient["Service"]) => Effect.Effect<A, unknown>): Promise<A> =>
    runtime.runPromise(ValetkeyClient.use(use))
  return {
    token: (server, options) =>
      run((client) =>
        Effect.map(
          client.token(server, {
            minValidity: options?.minValidity,
            rejected: options?.rejected === undefined ? undefined : Redacted.make(options.rejected)
          }),
          (token) => ({
            accessToken: Redacted.value(token.accessToken),
            tokenType: token.tokenType,
            expiresAt: token.expiresAt === undefined ? undefined : DateTime.toDate(token.expiresAt),
            scopes: token.scopes,
            generation: token.generation,
            resource: token.resource
          })
        )
      ),
    fetch: (server) =>
      ResourceFetch.make(
        async (effect, signal) => {
          try {
            return await runtime.runPromise(effect, signal === undefined ? {} : { signal })
          } catch (error) {
            throw signal?.aborted === true ? signal.reason : error
          }
        },
        server
      ),
    connections: () => run((client) => client.connections),
    connection: (server) => run((client) => client.connection(server)),
    disconnect: (server) => run((client) => client.disconnect(server)),
    servers: () => run((client) => client.servers),
    putServer: (server, description) => run((client) => client.putServer(server, description)),
    close: () => runtime.dispose()
  }
}

const layerOf = (place: Place): Layer.Layer<ValetkeyClient> => {
  if ("url" in place) return ValetkeyClient.layerUrl({ url: place.url, token: Redacted.make(place.token) })
  if ("socket" in place) return ValetkeyClient.layerSocket(place)
  const home = locate(place.home === undefined ? process.env : { ...process.env, VALETKEY_HOME: place.home })
  return ValetkeyClient.layerSocket({ socket: home.socket, tokenFile: home.token })
}
