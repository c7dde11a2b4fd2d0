import { ApiProblem, type ClientError, UnexpectedResponse, Unreachable } from "@valetkey/client/ClientError"
import * as TokenHttpClient from "@valetkey/client/TokenHttpClient"
import { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import { Effect, Layer } from "effect"
import * as McpClient from "effect/ai/McpClient"
import type { McpClientError } from "effect/ai/McpClientError"
import type * as McpProtocol from "effect/ai/McpProtocol"
import type { HttpClient } from "effect/http/HttpClient"
import { type AskPerson, ConsentFailed, needsPerson, obtain } from "./Consent.ts"

/** Which server to connect Effect's MCP client to, and as whom. */
export interface EffectMcpClientOptions {
  /** The name of the server at Valetkey. */
  readonly server: string
  readonly name: string
  readonly version: string
  readonly protocol: McpProtocol.ProtocolAdapter<McpClient.ProtocolVersion>
  /** The MCP endpoint, where it is not the resource itself. */
  readonly url?: string | undefined
  /** Leads the person to the consent that is missing when the layer is built. Without it that is an error. */
  readonly ask?: AskPerson | undefined
}

/**
 * Layer of Effect's own MCP client whose requests carry tokens of Valetkey, replaced when the server refuses them. A consent is
 * asked for before the client connects; one that ends later fails the call, as `TokenHttpClient.resourceErrorOf` tells.
 */
export const layer = ({ ask, server, ...options }: EffectMcpClientOptions): Layer.Layer<
  McpClient.McpClient,
  McpClientError | ClientError | ConsentFailed,
  HttpClient | ValetkeyClient
> =>
  Layer.unwrap(Effect.gen(function*() {
    const valetkey = yield* ValetkeyClient
    yield* Effect.catch(valetkey.token(server), (error) =>
      ask === undefined || !needsPerson(error) ? Effect.fail(error) : Effect.catch(
        obtain(server, { scopes: undefined }, ask),
        // Whatever else it is, `ask` threw it.
        (failed) =>
          isOurs(failed) ? Effect.fail(failed) : Effect.die(failed)
      ))
    const url = options.url ?? (yield* valetkey.server(server)).resource
    return Layer.provide(McpClient.layerHttp({ ...options, url }), TokenHttpClient.layer(server))
  }))

const isOurs = (error: unknown): error is ClientError | ConsentFailed =>
  [ApiProblem, ConsentFailed, UnexpectedResponse, Unreachable].some((kind) => error instanceof kind)
