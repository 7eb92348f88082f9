// SPDX-License-Identifier: Apache-2.0
// The steps of the demo that observe a running gateway: samples and metrics of a transfer, and the audit trail of the
// whole demo.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Gateway } from '../test/e2e/gateway.js';
import { until } from '../test/e2e/namespace.js';
import type { Transfer } from '../test/e2e/traffic.js';
import type { Story } from './story.js';

/** Sampling rate: one of 2^12 packets. */
const rateLog2 = 12;
/** Services publish their counters once a second; this waits for two reports. */
const statsMs = 2200;
const metricsUrl = 'http://127.0.0.1:9464/metrics';

/** A line of the sampler: docs/schemas/sample.json. */
interface SampleLine {
  point: 'egress_sealed' | 'ingress_opened';
  peer: string;
  source: string;
  destination: string;
  protocol: number;
  destinationPort: number | null;
  spi: string;
  length: number;
  copied: number;
}

/** Values by series, as `name{label="value"}`. */
type Metrics = Map<string, number>;

export class TapStory {
  constructor(
    private readonly story: Story,
    private readonly gateways: { a: Gateway; b: Gateway },
  ) {}

  /** Samples a transfer at gateway a, and compares the gateway's metrics before and after it. */
  async sampledTransfer(carry: () => Promise<Transfer>): Promise<void> {
    const { story } = this;
    const { a, b } = this.gateways;
    const before = await metricsOf(a);
    const taken = [samplesOf(a, 'egress_sealed').length, samplesOf(b, 'ingress_opened').length] as const;
    await this.#psp(a, 'sampling', `${rateLog2}`);
    const carried = await carry();
    await this.#psp(a, 'sampling', 'off');
    story.state(carried.equal, `a transfer of ${carried.bytes >> 20} MiB arrived with equal SHA-256`);
    const [sealed, opened] = await until('both samplers have written all samples', () => {
      const now = [
        samplesOf(a, 'egress_sealed').slice(taken[0]),
        samplesOf(b, 'ingress_opened').slice(taken[1]),
      ] as const;
      return now[0].length > 2 && now[0].length === now[1].length && now;
    });
    story.state(
      true,
      `one of ${2 ** rateLog2} packets was sampled: ${sealed.length} at a after encryption, the same ${opened.length} at b after decryption`,
    );
    for (const sample of [...sealed.slice(0, 2), ...opened.slice(0, 1)]) story.say(lineOf(sample));
    await sleep(statsMs);
    this.#compare(before, await metricsOf(a), sealed.length);
  }

  #compare(before: Metrics, after: Metrics, samples: number): void {
    const { story } = this;
    const grew = (series: string): number => (after.get(series) ?? 0) - (before.get(series) ?? 0);
    const acl = (outcome: string): number =>
      grew(`psp_pipe_packets_total{pipe="egress_acl",outcome="${outcome}"}`);
    story.say(`${metricsUrl} of gateway a, compared before and after the transfer:`);
    story.state(
      acl('hit') > samples && acl('miss') === 0,
      `psp_pipe_packets_total{pipe="egress_acl"}: ${acl('hit')} more hits, no more misses`,
      `${acl('hit')} hits, ${acl('miss')} misses`,
    );
    const dropped = [...after.keys()].filter(
      (series) => series.startsWith('psp_dropped_packets_total') && grew(series) > 0 && !isChatter(series),
    );
    story.state(
      dropped.length === 0,
      'psp_dropped_packets_total: no packet of the transfer was dropped',
      dropped.join(' '),
    );
    const links = [...after].filter(([series]) => /^psp_peer_connected\{.*peer="b"/.test(series));
    story.state(
      links.length === 1 && links[0]?.[1] === 1,
      'psp_peer_connected{peer="b"}: 1',
      JSON.stringify(links),
    );
  }

  /** Checks the audit trails of both gateways: the expected events, and no gap in their numbers. */
  async audit(expected: Readonly<Record<'a' | 'b', Readonly<Record<string, number>>>>): Promise<void> {
    const { story } = this;
    for (const name of ['a', 'b'] as const) {
      const gateway = this.gateways[name];
      const types = await until(`the audit trail of ${name} has all events`, async () => {
        const { stdout } = await gateway.psp('audit', '--json');
        const events = stdout.trim().split('\n').filter(Boolean);
        const counts = countsOf(events.map((line) => (JSON.parse(line) as { type: string }).type.slice(4)));
        return Object.entries(expected[name]).every(([type, count]) => counts.get(type) === count) && counts;
      });
      const list = [...types].map(([type, count]) => `${count} ${type}`).join(', ');
      story.state(true, `gateway ${name}: ${list}`);
      const { code, stdout } = await gateway.psp('audit', 'verify');
      story.state(
        code === 0,
        `gateway ${name}: psp audit verify: ${stdout.trim().split('\n').at(-1)}`,
        stdout,
      );
    }
    const { stdout } = await this.gateways.a.psp('audit');
    for (const line of stdout.trim().split('\n').slice(-3)) story.say(line);
  }

  async #psp(gateway: Gateway, ...args: string[]): Promise<void> {
    const { code, stdout, stderr } = await gateway.psp(...args);
    this.story.state(code === 0, `psp ${args.join(' ')}: ${stdout.trim()}`, stderr.trim());
  }
}

/** Drop reasons of packets that idle hosts and kernels send on their own. */
const isChatter = (series: string): boolean =>
  /reason="(multicast|not_ip|not_local_source|not_for_us|not_psp|other_host)"/.test(series);

function samplesOf(gateway: Gateway, point: SampleLine['point']): SampleLine[] {
  const whole = gateway.printed().split('\n').slice(0, -1);
  const samples = whole.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as SampleLine);
  return samples.filter((sample) => sample.point === point);
}

const lineOf = (sample: SampleLine): string =>
  `${sample.point.padEnd(14)} ${sample.source} to ${sample.destination}, protocol ${sample.protocol}, ` +
  `port ${sample.destinationPort}, peer ${sample.peer}, SPI ${sample.spi}, ${sample.copied} of ${sample.length} octets`;

async function metricsOf(gateway: Gateway): Promise<Metrics> {
  const fetched = `process.stdout.write(await (await fetch('${metricsUrl}')).text())`;
  const { stdout, stderr, code } = await gateway.namespace.try(process.execPath, [
    '--input-type=module',
    '-e',
    fetched,
  ]);
  if (code !== 0) throw new Error(`${metricsUrl} does not answer: ${stderr.trim()}`);
  const series = stdout.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    series.map((line) => {
      const space = line.lastIndexOf(' ');
      return [line.slice(0, space), Number(line.slice(space + 1))];
    }),
  );
}

function countsOf(words: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}
