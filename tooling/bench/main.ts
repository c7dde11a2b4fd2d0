import { Effect, Scope } from "effect"
import { parseArgs } from "node:util"
import { bridging } from "./Bridging.ts"
import { building } from "./Building.ts"
import { coldStart } from "./ColdStart.ts"
import { commandLine } from "./CommandLine.ts"
import { handing } from "./Handing.ts"
import { proxying } from "./Proxying.ts"
import { refreshing } from "./Refreshing.ts"
import { conclude, headline } from "./Report.ts"
import { sealing } from "./Sealing.ts"
import { starts } from "./Starts.ts"
import { render, type Section } from "./Table.ts"
import { vending } from "./Vending.ts"
import { waiting } from "./Waiting.ts"
import * as World from "./World.ts"

const { values } = parseArgs({ options: { rounds: { type: "string", default: "9" }, only: { type: "string" } } })
const rounds = Number(values.rounds)

type World = () => Promise<World.World>

const sections: Readonly<Record<string, (world: World) => Promise<ReadonlyArray<Section>>>> = {
  // A command takes a few hundredths of a second: more rounds cost little and say more.
  commands: async (world) => [await commandLine(await world(), 3 * rounds)],
  start: async (world) => coldStart(await world(), rounds),
  bridge: async (world) => [await bridging(await world(), rounds)],
  token: async (world) => [await handing(await world(), rounds)],
  proxy: async (world) => [await proxying(await world(), rounds)],
  sealing: async () => [await sealing(rounds)],
  vending: async () => [await vending(rounds)],
  building: async () => [await building(rounds)],
  starts: () => starts(rounds),
  waiting: () => waiting(rounds),
  refresh: () => refreshing(rounds)
}

const program = Effect.scoped(Effect.gen(function*() {
  // Built by the first section that needs it, and ended with the run.
  const make = yield* Effect.cached(Scope.provide(World.make, yield* Effect.scope))
  const world = () => Effect.runPromise(make)
  console.log(headline(rounds))
  const measured: Array<Section> = []
  for (const [name, measure] of Object.entries(sections)) {
    if (values.only !== undefined && values.only !== name) continue
    for (const section of yield* Effect.promise(() => measure(world))) {
      measured.push(section)
      console.log(render(section))
    }
  }
  return measured
}))

conclude("bench.json", await Effect.runPromise(program))
