// Undo and redo over lists of objects. A list and its objects never change; what an answer brings replaces an object in
// every list that has it, so answers may come in any order.

export class History {
  constructor(objects = []) {
    this._lists = [objects];
    this._at = 0;
  }

  get now() {
    return this._lists[this._at];
  }

  get canUndo() {
    return this._at > 0;
  }

  get canRedo() {
    return this._at < this._lists.length - 1;
  }

  /** A new list; what was undone before is gone. */
  push(objects) {
    this._lists.length = this._at + 1;
    this._lists.push(objects);
    this._at++;
  }

  undo() {
    if (this.canUndo) this._at--;
  }

  redo() {
    if (this.canRedo) this._at++;
  }

  /** Put an object in the place of another, or of none (null), in all lists; steps that then change nothing go. */
  replace(object, other) {
    const put = (objects) => {
      if (!objects.includes(object)) return objects;
      return objects.map((own) => (own === object ? other : own)).filter((own) => own !== null);
    };
    const lists = this._lists.map(put);
    const equal = (one, two) => one.length === two.length && one.every((own, at) => own === two[at]);
    const kept = [];
    let at = 0;
    lists.forEach((list, index) => {
      if (!kept.length || !equal(kept.at(-1), list)) kept.push(list);
      if (index === this._at) at = kept.length - 1;
    });
    this._lists = kept;
    this._at = at;
  }
}
