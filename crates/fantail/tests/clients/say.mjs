// What clients tell tests/it/clients.rs: one JSON object a line.
//
//   {"report":"open"}                               the head has come, where a client tells of that
//   {"report":"event","type":…,"data":…,"id":…}     an event surfaced; `data` is an object where the client parses it
//   {"report":"error","reason":…}                   an error surfaced; more fields where a client tells more
//   {"report":"end"}                                the stream ended without an error; more fields where a script tells more
//   {"report":"begin","what":…}                     what follows belongs to this
//   {"report":"done"}                               the script has come to its own end; nothing follows

export const say = (report, fields = {}) => process.stdout.write(JSON.stringify({ report, ...fields }) + '\n');

// The last word. Exits, as what a client keeps open would hold the process.
export const done = () => process.stdout.write('{"report":"done"}\n', () => process.exit(0));
