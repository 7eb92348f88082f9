// SPDX-License-Identifier: Apache-2.0
// Runs in a gateway's namespace: connects to its bus as one user, subscribes to each given subject, and reports which
// subscriptions are permitted. Arguments: user, password, subjects. Prints one JSON line: { connected, received:
// [subject], refused: [subject] }.
import { connect, type NatsConnection } from 'nats';

const [user, pass, ...subjects] = process.argv.slice(2) as [string, string, ...string[]];
const refused = new Set<string>();
let connection: NatsConnection | undefined;
try {
  connection = await connect({ servers: '127.0.0.1:4270', user, pass, reconnect: false, timeout: 2000 });
} catch {
  // Reported below.
}
for (const subject of subjects) {
  connection?.subscribe(subject, {
    callback: (error) => {
      if (error) refused.add(subject);
    },
  });
}
await connection?.flush();
await new Promise((resolve) => setTimeout(resolve, 200));
const received = connection === undefined ? [] : subjects.filter((subject) => !refused.has(subject));
process.stdout.write(
  `${JSON.stringify({ connected: connection !== undefined, received, refused: [...refused] })}\n`,
);
await connection?.close();
