// SPDX-License-Identifier: Apache-2.0
// Answers sample.egress and does nothing else, not even decode it: the rate of the bus alone. Arguments: server,
// password. Prints "ready" to stdout.
import { Bus } from '../../services/shared/bus/bus.js';
import { contracts } from '../../services/shared/contracts.js';

const service = { description: 'a bench', version: '0.1.0' };
const [server = '', password = ''] = process.argv.slice(2);
const bus = await Bus.connect({ node: 'a', server, user: 'sampler', password, service });
const opaque = {
  encode: (octets: Uint8Array) => ({ finish: () => octets }),
  decode: (octets: Uint8Array) => octets,
};
bus.respond({ ...contracts.sampleEgress, payload: opaque }, () => ({}));
await bus.flush();
console.log('ready');
