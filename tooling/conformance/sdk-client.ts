// The peer: the official SDK with its own authorization and its own providers, told the same as the client under test.
import {
  ClientCredentialsProvider,
  CrossAppAccessProvider,
  DpopSession,
  type OAuthClientProvider,
  PrivateKeyJwtProvider,
  requestJwtAuthorizationGrant,
  type StoredOAuthClientInformation,
  type StoredOAuthTokens
} from "@modelcontextprotocol/client"
import * as Scenario from "./Scenario.ts"
import { consent, type Person, talkAsPerson } from "./Talk.ts"

const redirectUrl = "http://127.0.0.1:39999/callback"
const { context, name } = Scenario

/** Keeps everything in memory, and has a person who consents to whatever is asked. */
const person = (known: StoredOAuthClientInformation | undefined): Person => {
  let client = known
  let tokens: StoredOAuthTokens | undefined
  let verifier = ""
  let state = ""
  let callback: URLSearchParams | undefined
  const session = name.startsWith("auth/dpop") ? DpopSession.create() : undefined
  return {
    redirectUrl,
    clientMetadataUrl: Scenario.clientMetadataUrl,
    clientMetadata: {
      client_name: "sdk-conformance",
      redirect_uris: [redirectUrl],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"]
    },
    state: () => (state = crypto.randomUUID()),
    clientInformation: () => client,
    saveClientInformation: (saved) => void (client = saved),
    tokens: () => tokens,
    saveTokens: (saved) => void (tokens = saved),
    saveCodeVerifier: (saved) => void (verifier = saved),
    codeVerifier: () => verifier,
    invalidateCredentials: (scope) => {
      if (scope === "all" || scope === "client") client = undefined
      if (scope === "all" || scope === "tokens") tokens = undefined
    },
    redirectToAuthorization: async (url) => {
      const { searchParams } = await consent(url.href)
      if (searchParams.get("state") !== state) throw new Error("The response is another request's")
      callback = searchParams
    },
    takeCallback: () => {
      const taken = callback
      callback = undefined
      return taken
    },
    ...(session === undefined ? {} : { dpop: () => session })
  }
}

const provider = (): OAuthClientProvider | Person => {
  const { client_id: clientId = "", client_secret: clientSecret = "" } = context
  switch (name) {
    case "auth/client-credentials-basic":
      return new ClientCredentialsProvider({ clientId, clientSecret })
    case "auth/client-credentials-jwt":
      return new PrivateKeyJwtProvider({
        clientId,
        privateKey: context["private_key_pem"] ?? "",
        algorithm: context["signing_algorithm"] ?? "ES256"
      })
    case "auth/enterprise-managed-authorization":
    case "auth/cross-app-access-complete-flow":
      return new CrossAppAccessProvider({
        clientId,
        clientSecret,
        assertion: async ({ authorizationServerUrl, fetchFn, resourceUrl }) => {
          const { jwtAuthGrant } = await requestJwtAuthorizationGrant({
            tokenEndpoint: context["idp_token_endpoint"] ?? "",
            audience: authorizationServerUrl,
            resource: resourceUrl,
            idToken: context["idp_id_token"] ?? "",
            clientId: context["idp_client_id"] ?? "",
            ...(fetchFn === undefined ? {} : { fetchFn })
          })
          return jwtAuthGrant
        }
      })
    case "auth/pre-registration":
      return person({ client_id: clientId, client_secret: clientSecret })
    default:
      return person(undefined)
  }
}

await talkAsPerson(process.argv.at(-1) ?? "", provider()).then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error)
    process.exit(1)
  }
)
