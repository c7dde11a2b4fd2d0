import { Effect } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import { failure } from "./CliFailure.ts"
import { helperParameters, hostIn, Hosts, hostsOf, ownForm, readInput, tokenOf, Username } from "./CredentialHelper.ts"
import { Output } from "./Output.ts"

/**
 * `valetkey docker-credential`: what a `docker-credential-*` program does, for the hosts of one server. Nothing is stored:
 * the token comes from the connection, and leaves with it.
 *
 * @see https://github.com/docker/docker-credential-helpers
 */
export const DockerCredential = Command.make("docker-credential", {
  ...helperParameters,
  operation: Argument.Literals("operation", ["get", "list", "store", "erase"]).pipe(
    Argument.withDescription("What docker asks for; it adds this itself")
  ),
  host: Hosts,
  username: Username("oauth2accesstoken")
}, ({ host, minValidity, name, operation, username }) =>
  Effect.gen(function*() {
    yield* ownForm
    const output = yield* Output
    switch (operation) {
      case "list": {
        const hosts = yield* hostsOf(name, host)
        return yield* output.data(JSON.stringify(Object.fromEntries(hosts.map((one) => [one, username]))))
      }
      case "get": {
        const asked = (yield* readInput).trim()
        if (!(yield* hostsOf(name, host)).includes(hostIn(asked) ?? "")) {
          // The words by which docker knows that it may go on without.
          yield* output.data("credentials not found in native keychain")
          return yield* failure("host_unexpected", `The token of ${name} is not for this host; see --host`)
        }
        const { accessToken } = yield* tokenOf(name, minValidity)
        return yield* output.data(JSON.stringify({ ServerURL: asked, Username: username, Secret: accessToken }))
      }
      case "store":
        yield* readInput
        return yield* failure("usage", `Nothing is stored from here; connect with: valetkey connect ${name}`)
      case "erase":
        yield* readInput
        return yield* output.say(`To forget the connection: valetkey disconnect ${name}`)
    }
  })).pipe(
    Command.withDescription("Answer docker's questions for credentials"),
    Command.withExamples([
      {
        command: "echo images.example.com | valetkey docker-credential registry get",
        description: "As docker asks, through a script that is named docker-credential-*"
      }
    ])
  )
