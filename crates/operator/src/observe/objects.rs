//! Small sets of objects kept as the API server has them: policies, runs, the kill switch. They are
//! watched untyped, so that one that cannot be read is seen, named and isolated, and stalls nothing
//! (SAFE-17).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use kube::{Resource, ResourceExt, api::ApiResource, core::DynamicObject, runtime::watcher::Event};
use rerail_core::words::quoted;
use serde::de::DeserializeOwned;

use super::watch::is_newer;

/// An object that could not be read.
#[derive(Debug, Clone)]
pub struct Malformed {
    /// As the API server has it.
    pub object: DynamicObject,
    /// Why it could not be read.
    pub error: String,
}

/// One object. Cheap to clone: whoever plans takes all of them at each turn.
#[derive(Debug)]
pub enum Entry<K> {
    /// Readable.
    Good(Arc<K>),
    /// Not readable.
    Malformed(Arc<Malformed>),
}

impl<K> Clone for Entry<K> {
    fn clone(&self) -> Self {
        match self {
            Entry::Good(object) => Entry::Good(object.clone()),
            Entry::Malformed(malformed) => Entry::Malformed(malformed.clone()),
        }
    }
}

impl<K: Resource> Entry<K> {
    /// Its UID, readable or not.
    pub fn uid(&self) -> Option<String> {
        match self {
            Entry::Good(object) => object.uid(),
            Entry::Malformed(malformed) => malformed.object.uid(),
        }
    }

    fn good(self) -> Option<Arc<K>> {
        match self {
            Entry::Good(object) => Some(object),
            Entry::Malformed(_) => None,
        }
    }
}

/// What an event did to the objects known.
pub struct Seen<K> {
    /// Name of the object that changed; `None` when many may have.
    pub changed: Option<String>,
    /// An object that was deleted, as it was at last.
    pub deleted: Option<Arc<K>>,
    /// Objects that are not there any more, as they were known: a list does not have them, or another one
    /// has their name now. What became of them in the meantime was not seen.
    pub missed: Vec<Arc<K>>,
}

/// The group, version, kind and plural of a type, for an untyped watch.
pub fn resource<K: Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

/// Reads an untyped object.
pub fn read<K: DeserializeOwned>(object: &DynamicObject) -> Entry<K> {
    let value = serde_json::to_value(object);
    match value.and_then(serde_json::from_value::<K>) {
        Ok(good) => Entry::Good(Arc::new(good)),
        Err(error) => {
            // serde repeats what it did not expect, which may be most of the object.
            let malformed = Malformed { object: object.clone(), error: quoted(&error) };
            Entry::Malformed(Arc::new(malformed))
        }
    }
}

/// An object as it was seen last.
struct Known<K> {
    version: Option<String>,
    entry: Entry<K>,
    /// When the latest call of our own was sent whose answer was this version or an older one. Not
    /// older than that is what is known here.
    asked: Option<Timestamp>,
}

impl<K> Clone for Known<K> {
    fn clone(&self) -> Self {
        Known { version: self.version.clone(), entry: self.entry.clone(), asked: self.asked }
    }
}

impl<K: DeserializeOwned> Known<K> {
    fn watched(object: &DynamicObject) -> Self {
        Known { version: object.resource_version(), entry: read(object), asked: None }
    }
}

struct Inner<K> {
    objects: BTreeMap<String, Known<K>>,
    listing: Option<BTreeMap<String, Known<K>>>,
    synced: bool,
}

/// The objects of one kind by name.
pub struct Objects<K> {
    inner: Mutex<Inner<K>>,
}

impl<K> Default for Objects<K> {
    fn default() -> Self {
        let inner = Inner { objects: BTreeMap::new(), listing: None, synced: false };
        Objects { inner: Mutex::new(inner) }
    }
}

impl<K: DeserializeOwned + Clone + Resource> Objects<K> {
    /// Takes in an event, and says what it did.
    pub fn event(&self, event: Event<DynamicObject>) -> Seen<K> {
        let mut inner = self.lock();
        let mut seen = Seen { changed: None, deleted: None, missed: Vec::new() };
        match event {
            Event::Init => inner.listing = Some(BTreeMap::new()),
            Event::InitApply(object) => {
                if let Some(listing) = &mut inner.listing {
                    listing.insert(object.name_any(), Known::watched(&object));
                }
            }
            Event::InitDone => {
                if let Some(mut listed) = inner.listing.take() {
                    for (name, new) in &mut listed {
                        // A write of our own may be newer than the list.
                        if let Some(old) = inner.objects.get(name)
                            && !is_newer(new.version.as_deref(), old.version.as_deref())
                        {
                            *new = old.clone();
                        }
                    }
                    let before = std::mem::replace(&mut inner.objects, listed);
                    let gone = before.into_iter().filter(|(name, old)| {
                        let new = inner.objects.get(name);
                        new.is_none_or(|new| old.entry.uid() != new.entry.uid())
                    });
                    seen.missed = gone.filter_map(|(_, old)| old.entry.good()).collect();
                }
                inner.synced = true;
            }
            Event::Apply(object) => {
                let name = object.name_any();
                seen.missed.extend(put(&mut inner, &name, Known::watched(&object)));
                seen.changed = Some(name);
            }
            Event::Delete(object) => {
                let name = object.name_any();
                inner.objects.remove(&name);
                seen.deleted = read(&object).good();
                seen.changed = Some(name);
            }
        }
        seen
    }

    /// Puts the answer to a write or a fresh read of our own, unless a newer version is known. `asked`
    /// says when the call was sent, for [`answered`](Self::answered).
    pub fn put(&self, object: impl Into<Arc<K>>, asked: Option<Timestamp>)
    where
        K: Resource<DynamicType = ()>,
    {
        let object = object.into();
        let (name, version) = (object.name_any(), object.resource_version());
        let new = Known { version, entry: Entry::Good(object), asked };
        put(&mut self.lock(), &name, new);
    }

    /// An object that a fresh read showed to be gone, as it was known.
    pub fn gone(&self, name: &str) -> Option<Arc<K>> {
        self.lock().objects.remove(name)?.entry.good()
    }

    /// The version of an object as it was seen last.
    pub fn version(&self, name: &str) -> Option<String> {
        self.lock().objects.get(name)?.version.clone()
    }

    /// One object, if it is there and readable.
    pub fn get(&self, name: &str) -> Option<Arc<K>> {
        self.lock().objects.get(name)?.entry.clone().good()
    }

    /// The same if a call of our own was answered with it, which is as good as a read, and when that was
    /// sent: what is known is not older.
    pub fn answered(&self, name: &str) -> Option<(Arc<K>, Timestamp)> {
        let inner = self.lock();
        let known = inner.objects.get(name)?;
        Some((known.entry.clone().good()?, known.asked?))
    }

    /// Every object, in order of names.
    pub fn snapshot(&self) -> Vec<Entry<K>> {
        self.lock().objects.values().map(|known| known.entry.clone()).collect()
    }

    /// True after the first complete list.
    pub fn synced(&self) -> bool {
        self.lock().synced
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the object of this name that another one has replaced. A newer version says at least as
/// much about now as the answer that it takes the place of.
fn put<K: Resource>(inner: &mut Inner<K>, name: &str, mut new: Known<K>) -> Option<Arc<K>> {
    let Some(old) = inner.objects.get_mut(name) else {
        inner.objects.insert(name.to_owned(), new);
        return None;
    };
    if !is_newer(new.version.as_deref(), old.version.as_deref()) {
        return None;
    }
    let same = old.entry.uid() == new.entry.uid();
    if same {
        new.asked = new.asked.max(old.asked);
    }
    let old = std::mem::replace(old, new);
    if same { None } else { old.entry.good() }
}

#[cfg(test)]
mod tests;
