import { Effect } from "effect"
import * as Command from "effect/cli/Command"
import { failure } from "./CliFailure.ts"
import { helperParameters, hostIn, Hosts, hostsOf, ownForm, tokenOf } from "./CredentialHelper.ts"
import { Output } from "./Output.ts"

const group = "client.authentication.k8s.io"

/**
 * `valetkey kubectl-credential`: an exec plugin of Kubernetes clients. Where the client says which cluster it asks for, the
 * token is for its host or not handed out.
 *
 * @see https://kubernetes.io/docs/reference/config-api/client-authentication.v1/
 */
export const KubectlCredential = Command.make(
  "kubectl-credential",
  { ...helperParameters, host: Hosts },
  ({ host, minValidity, name }) =>
    Effect.gen(function*() {
      yield* ownForm
      const { cluster, version } = asked(process.env["KUBERNETES_EXEC_INFO"])
      if (cluster !== undefined && !(yield* hostsOf(name, host)).includes(hostIn(cluster) ?? "")) {
        return yield* failure(
          "host_unexpected",
          `The token of ${name} is not for the host of this cluster; name it with --host if it is`
        )
      }
      const { accessToken, expiresAt } = yield* tokenOf(name, minValidity)
      yield* (yield* Output).data(JSON.stringify({
        apiVersion: `${group}/${version}`,
        kind: "ExecCredential",
        status: {
          token: accessToken,
          // RFC 3339 without fractions is what every client reads.
          ...(expiresAt === undefined ? {} : { expirationTimestamp: expiresAt.replace(/\.\d+Z$/, "Z") })
        }
      }))
    })
).pipe(
  Command.withDescription("Print a token as an ExecCredential of Kubernetes"),
  Command.withExamples([
    { command: "valetkey kubectl-credential cluster", description: "As the exec command of a kubeconfig user" }
  ])
)

/** What a client says of itself: the version that it reads, and the cluster with `provideClusterInfo`. */
const asked = (info: string | undefined): { readonly cluster: string | undefined; readonly version: string } => {
  try {
    const { apiVersion, spec } = JSON.parse(info ?? "{}") as {
      readonly apiVersion?: unknown
      readonly spec?: { readonly cluster?: { readonly server?: unknown } }
    }
    const server = spec?.cluster?.server
    return {
      cluster: typeof server === "string" ? server : undefined,
      version: apiVersion === `${group}/v1beta1` ? "v1beta1" : "v1"
    }
  } catch {
    return { cluster: undefined, version: "v1" }
  }
}
