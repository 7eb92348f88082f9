// SPDX-License-Identifier: Apache-2.0
// `psp tap [subject]`: the messages on the node's bus as JSON lines, decoded, without taking them from their
// receivers; replies go to inboxes and are not received. `psp tap samples`: samples in the sampler's format, with -w
// as a pcapng file, or with --wireshark on the screen. JSON, one object per line: { time, subject, kind, length,
// payload }, or hex in place of payload (docs/schemas/tap.json); samples as in docs/schemas/sample.json.
import { isatty } from 'node:tty';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { SampleBatch } from '../../proto/gen/bus.js';
import type { Bus, RawMessage } from '../../services/shared/bus/bus.js';
import type { BusStream } from '../../services/shared/bus/stream.js';
import type { NodeConfig } from '../../services/shared/config/config.js';
import { contracts, nameBelow, subjectBelow } from '../../services/shared/contracts.js';
import { PspError } from '../../services/shared/errors.js';
import { unixMs } from '../../services/shared/process/clock.js';
import { version } from '../../services/shared/process/version.js';
import { isWellFormed, LineWriter, packetOf, samplesHeader } from '../../services/shared/samples/samples.js';
import { asOperator, auditOf, type SharedOptions } from '../operator.js';
import { Reported } from '../output.js';
import { tapped } from './message.js';
import { TapOutput } from './tap_output.js';
import { Wireshark } from './wireshark.js';

interface TapOptions extends SharedOptions {
  write?: string;
  force?: true;
  count?: number;
  /** The program. */
  wireshark?: string;
}

const samples = 'samples';

const subjectName = (text: string): string => {
  if (/^(?:(?:[^\s.*>]+|\*)(?:\.(?:[^\s.*>]+|\*))*(?:\.>)?|>)$/.test(text)) return text;
  throw new InvalidArgumentError(
    'a subject below that of the node is expected, such as sample.egress or evt.>',
  );
};
const wholeNumber = (text: string): number => {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('a whole number from 1 is expected');
};

/** Defines the arguments and options of the command and what it does. */
export function define(command: Command): void {
  command
    .argument(
      '[subject]',
      'only this subject, without the prefix of the node, wildcards allowed; or "samples"',
      subjectName,
      '>',
    )
    .option('-w, --write <file>', 'with "samples": write pcapng to a new file; - is standard output')
    .option('--force', 'with -w: overwrite the file')
    .addOption(
      new Option('--wireshark [program]', 'with "samples": watch them in wireshark, or in tshark')
        .preset('wireshark')
        .conflicts('write'),
    )
    .option('--count <entries>', 'end after this many messages or samples', wholeNumber)
    .action((subject: string, _, command: Command) => {
      const options = command.optsWithGlobals<TapOptions>();
      if (options.write !== undefined && subject !== samples) command.error('-w goes with "samples" only');
      if (options.wireshark !== undefined && subject !== samples)
        command.error('--wireshark goes with "samples" only: psp tap samples --wireshark');
      if (options.force && options.write === undefined) command.error('--force requires -w FILE');
      if (options.write === '-' && isatty(1)) command.error('standard output is a terminal');
      return tap(subject, options);
    });
}

async function tap(
  subject: string,
  { config: file, write, force, count, wireshark }: TapOptions,
): Promise<void> {
  const asPackets = write !== undefined || wireshark !== undefined;
  const onState = (connected: boolean) => {
    if (!connected) report('the bus is down; messages sent meanwhile are not received');
  };
  const work = async (bus: Bus, config: NodeConfig) => {
    const { node, sampling } = config;
    const viewer = wireshark === undefined ? undefined : await Wireshark.start(wireshark);
    const output = new TapOutput(viewer?.outlet ?? write ?? '-', count, force);
    void viewer?.ended.then(() => output.stop());
    if (asPackets) output.header(samplesHeader(node, sampling.snapBytes, version));
    const receiver =
      subject === samples ? new SampleReceiver(output, asPackets) : new MessageReceiver(output, node);
    const names = subject === samples ? sampleNames : [subject];
    for (const name of names) bus.subscribe(subjectBelow(node, name), (message) => receiver.receive(message));
    await bus.flush();
    const audit = names.some(mayBeAudit) ? await receiveAudit(config, subject, receiver) : undefined;
    report(`listening on ${names.map((name) => subjectBelow(node, name)).join(' and ')}`);
    await output.over;
    await output.finish();
    await viewer?.close();
    await audit?.close();
    return { output, malformed: receiver.malformed, fault: viewer?.fault };
  };
  const { output, malformed, fault } = await asOperator(file, work, onState);
  if (write !== undefined && write !== '-') report(`${output.written} samples written to ${write}`);
  if (output.dropped > 0) report(`${output.dropped} dropped, because the output is slower than the bus`);
  if (malformed > 0) report(`${malformed} batches of samples malformed`);
  if (fault !== undefined) {
    report(`${wireshark} ended with ${fault}`);
    throw new Reported();
  }
  if (output.failure) throw output.failure;
  if (output.isStuck) process.exit(0);
}

/** Whether a subject can match audit events, which are on a separate server. */
const mayBeAudit = (name: string): boolean => /^(\*|>|audit)(\.|$)/.test(name);

/** Narrower than all subjects: no user may subscribe to more on that server. */
const auditName = (subject: string): string =>
  /^(>|\*\.>)$/.test(subject) ? 'audit.>' : subject.replace(/^\*/, 'audit');

async function receiveAudit(
  config: NodeConfig,
  subject: string,
  receiver: MessageReceiver | SampleReceiver,
): Promise<BusStream | undefined> {
  try {
    const stream = await auditOf(config);
    stream.subscribe(subjectBelow(config.node, auditName(subject)), (message) => receiver.receive(message));
    await stream.flush();
    return stream;
  } catch (error) {
    if (!(error instanceof PspError)) throw error;
    report(`audit events are not received: ${error.message}`);
    return undefined;
  }
}

const report = (text: string): void => void process.stderr.write(`psp: ${text}\n`);

const sampleNames = [contracts.sampleEgress.subject, contracts.sampleIngress.subject];

/** Every message becomes a line. */
class MessageReceiver {
  readonly malformed = 0;

  constructor(
    private readonly output: TapOutput,
    private readonly node: string,
  ) {}

  receive({ subject, octets }: RawMessage): void {
    const line = { time: new Date(unixMs()).toISOString(), ...tapped(nameBelow(this.node, subject), octets) };
    this.output.line(`${JSON.stringify(line)}\n`);
  }
}

/** Every sample becomes a line or a packet. */
class SampleReceiver {
  /** Counts batches. */
  malformed = 0;
  readonly #lines = new LineWriter();

  constructor(
    private readonly output: TapOutput,
    private readonly asPackets: boolean,
  ) {}

  receive({ octets }: RawMessage): void {
    const batch = decoded(octets);
    if (batch === undefined) this.malformed++;
    for (const sample of batch?.samples ?? []) {
      if (this.asPackets) this.output.packet(packetOf(sample));
      else this.output.line(this.#lines.line(sample));
    }
  }
}

/** Undefined if it is no batch of complete samples. */
function decoded(octets: Uint8Array): SampleBatch | undefined {
  try {
    const batch = SampleBatch.decode(octets);
    return batch.samples.every(isWellFormed) ? batch : undefined;
  } catch {
    return undefined;
  }
}
