import { assert, describe, it } from "@effect/vitest"
import { isGlobal, isLoopback } from "../src/internal/address.ts"

const refused: Record<string, ReadonlyArray<string>> = {
  "SSRF-01 this network, private, shared, loopback, link-local": [
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.255.255"
  ],
  "SSRF-01 protocol assignments, documentation, benchmarking, relays": [
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.255"
  ],
  "SSRF-01 multicast, reserved, broadcast": ["224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"],
  "SSRF-01 IPv6 that is not global unicast": [
    "::",
    "::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff:ffff::1",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "100::1",
    "100:0:0:1::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff::1",
    "2001:db8::1",
    "3fff::1",
    "3fff:fff::1",
    "4000::1",
    "5f00::1",
    "e000::1"
  ],
  "SSRF-03 IPv4-mapped": [
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "0:0:0:0:0:ffff:a00:1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::ffff:192.168.1.1",
    "::ffff:0.0.0.0"
  ],
  "SSRF-03 IPv4-compatible": ["::127.0.0.1", "::7f00:1", "::10.0.0.1", "::a9fe:a9fe"],
  "SSRF-03 IPv4-translated": ["::ffff:0:127.0.0.1", "::ffff:0:7f00:1", "::ffff:0:a9fe:a9fe"],
  "SSRF-03 NAT64": ["64:ff9b::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::a00:1"],
  "SSRF-03 NAT64 with an operator's prefix, of whatever length": [
    "64:ff9b:1::127.0.0.1",
    "64:ff9b:1::a9fe:a9fe",
    "64:ff9b:1:7f00:0:100::",
    "64:ff9b:1:a9fe:a9:fe00::",
    "64:ff9b:1:7f:0:1::",
    "64:ff9b:1:0:7f:0:100:0",
    "64:ff9b:1::1"
  ],
  "SSRF-03 6to4": ["2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::", "2002:c0a8:101::1", "2002:e000:1::"],
  "SSRF-03 Teredo, by client and by server": [
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:0:4136:e378:8000:63bf:5601:5601",
    "2001:0:7f00:1:8000:63bf:f7f7:f7f7"
  ],
  "SSRF-03 ISATAP": [
    "2606:4700::5efe:127.0.0.1",
    "2606:4700::5efe:7f00:1",
    "2606:4700::200:5efe:a9fe:a9fe",
    "fe80::5efe:8.8.8.8"
  ],
  "what is not an address": ["", "localhost", "127.1", "0x7f.0.0.1", "1.2.3.4.5", "[::1]", "::ffff:1.2.3", "1.2.3.4 "]
}

const allowed: Record<string, ReadonlyArray<string>> = {
  "global IPv4 and the neighbours of special blocks": [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.0.3.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255"
  ],
  "global IPv6": ["2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450::1", "2001:200::1", "3ffe::1"],
  "global IPv4 inside IPv6": [
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
    "2606:4700::5efe:8.8.8.8",
    "2001:0:4136:e378:8000:63bf:f7f7:f7f7"
  ]
}

describe("isGlobal", () => {
  for (const [title, addresses] of Object.entries(refused)) {
    it(`${title} are refused`, () => {
      for (const address of addresses) assert.isFalse(isGlobal(address), address)
    })
  }
  for (const [title, addresses] of Object.entries(allowed)) {
    it(`${title} are allowed`, () => {
      for (const address of addresses) assert.isTrue(isGlobal(address), address)
    })
  }

  it("SSRF-03 no private IPv4 address is global in any embedding", () => {
    for (const [a, b, c, d] of [[127, 0, 0, 1], [10, 1, 2, 3], [169, 254, 169, 254], [192, 168, 0, 1]] as const) {
      const hex = (...bytes: ReadonlyArray<number>) => bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("")
      const high = hex(a, b)
      const low = hex(c, d)
      const flipped = `${hex(a ^ 255, b ^ 255)}:${hex(c ^ 255, d ^ 255)}`
      for (
        const address of [
          `::${high}:${low}`,
          `::ffff:${high}:${low}`,
          `::ffff:0:${high}:${low}`,
          `64:ff9b::${high}:${low}`,
          `64:ff9b:1::${high}:${low}`,
          `64:ff9b:1:${high}:${hex(0, c)}:${hex(d, 0)}::`,
          `2002:${high}:${low}::1`,
          `2001:0:808:808:0:0:${flipped}`,
          `2600::5efe:${high}:${low}`,
          `2600::200:5efe:${high}:${low}`
        ]
      ) {
        assert.isFalse(isGlobal(address), address)
      }
    }
  })
})

describe("isLoopback", () => {
  it("takes 127.0.0.0/8 and ::1 and no embedded form", () => {
    for (const address of ["127.0.0.1", "127.8.9.10", "::1", "0:0:0:0:0:0:0:1"]) assert.isTrue(isLoopback(address))
    for (const address of ["::ffff:127.0.0.1", "::", "0.0.0.0", "128.0.0.1", "localhost", "::2"]) {
      assert.isFalse(isLoopback(address), address)
    }
  })
})
