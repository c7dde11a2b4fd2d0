import { seconds } from "./Processes.ts"
import { race } from "./Race.ts"
import type { Section } from "./Table.ts"
import { valetkey, type World } from "./World.ts"

const node = [process.execPath, "-e", "0"]

/** How long commands take on a warm server, beside a Node process that does nothing. */
export const commandLine = async (world: World, rounds: number): Promise<Section> => ({
  title: "commands on a warm server",
  unit: "seconds",
  figures: await race(rounds, [
    ["node -e 0", () => seconds(node)],
    ...[["token", "bench"], ["--version"], ["list"], ["status", "bench"], ["servers", "list"]].map((args) =>
      [`valetkey ${args.join(" ")}`, () => seconds([...valetkey, ...args], world.env)] as const
    )
  ]),
  limits: {
    "valetkey token bench": { atMost: 1.25 },
    "valetkey --version": { atMost: 1.25 },
    "valetkey list": { atMost: 3 },
    "valetkey status bench": { atMost: 3 },
    "valetkey servers list": { atMost: 3 }
  }
})
