import { parseArgs } from "node:util"
import { pending } from "./Pending.ts"
import { conclude, headline } from "./Report.ts"
import { render } from "./Table.ts"

/** The run with very many pending flows. Node.js has to be started with --expose-gc. */
const { values } = parseArgs({
  options: {
    few: { type: "string", default: "10000" },
    many: { type: "string", default: "1000000" },
    rounds: { type: "string", default: "5" },
    idle: { type: "string", default: "20" },
    calls: { type: "string", default: "200" },
    figures: { type: "string", default: "flows.json" }
  }
})
const rounds = Number(values.rounds)
console.log(headline(rounds))
const measured = await pending({
  few: Number(values.few),
  many: Number(values.many),
  rounds,
  idleSeconds: Number(values.idle),
  calls: Number(values.calls),
  report: (sections) => console.log(sections.map(render).join("\n"))
})
conclude(values.figures, measured)
