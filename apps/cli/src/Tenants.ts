import { Effect } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { failure } from "./CliFailure.ts"
import { Output, plain } from "./Output.ts"
import { reach } from "./Target.ts"
import { operations, type Tenant } from "./Wire.ts"

const TenantName = Argument.String("name").pipe(Argument.withDescription("Name of the tenant, as credentials carry it"))

const DeleteTenant = Command.make("delete", {
  name: TenantName,
  confirm: Flag.String("confirm").pipe(
    Flag.withDescription("The name again: everything that the tenant has is lost"),
    Flag.withDefault("")
  )
}, ({ confirm, name }) =>
  Effect.gen(function*() {
    const output = yield* Output
    if (confirm !== name) {
      return yield* failure(
        "usage",
        `Every connection, server and API key of the tenant is deleted and its tokens are revoked; run valetkey tenants delete ${
          plain(name)
        } --confirm ${plain(name)} if that is meant`
      )
    }
    const tenant = yield* (yield* reach({ start: true })).call(operations.removeTenant, name)
    yield* output.result({ ok: true, ...tenant }, describe(tenant))
    if (tenant.state === "deleting") yield* output.say(`See how far it is: valetkey tenants status ${plain(name)}`)
  })).pipe(
    Command.withDescription("Refuse a tenant at once, revoke its tokens, and delete everything that it has"),
    Command.withExamples([{
      command: "valetkey tenants delete acme --confirm acme",
      description: "The name twice: nothing brings it back"
    }])
  )

const TenantStatus = Command.make("status", { name: TenantName }, ({ name }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const tenant = yield* (yield* reach({ start: true })).call(operations.tenant, name)
    yield* output.result({ ok: true, ...tenant }, describe(tenant))
  })).pipe(
    Command.withDescription("Show how far the deletion of a tenant is"),
    Command.withExamples([{
      command: "valetkey tenants status acme",
      description: "Whether it is deleting or deleted"
    }])
  )

const AllowTenant = Command.make("allow", { name: TenantName }, ({ name }) =>
  Effect.gen(function*() {
    const output = yield* Output
    yield* (yield* reach({ start: true })).call(operations.allowTenant, name)
    yield* output.result(
      { ok: true, tenant: name, state: "active" },
      `The name ${plain(name)} may be used again; nothing of the former tenant is left`
    )
  })).pipe(
    Command.withDescription("Let the name of a deleted tenant be used again"),
    Command.withExamples([{ command: "valetkey tenants allow acme", description: "Begin again with nothing" }])
  )

/** `valetkey tenants`: the end of tenants. */
export const Tenants = Command.make("tenants").pipe(
  Command.withDescription("Delete tenants"),
  Command.withSubcommands([DeleteTenant, TenantStatus, AllowTenant])
)

const describe = ({ connections, revocations, state, tenant }: Tenant): string => {
  switch (state) {
    case "active":
      return `${plain(tenant)} was not deleted`
    case "deleting":
      return `${
        plain(tenant)
      } is refused everywhere and being deleted: ${connections} connections to end, ${revocations} revocations owed`
    case "deleted":
      return `${plain(tenant)} is deleted; its name is refused until valetkey tenants allow ${plain(tenant)}`
  }
}
