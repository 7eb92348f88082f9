// SPDX-License-Identifier: Apache-2.0
// Whether end-to-end tests run at full length: `npm run test:long`. The short form checks the same statements; the
// long form repeats more often what fails rarely.

export const long = process.env.PSP_TEST_LONG === '1';
