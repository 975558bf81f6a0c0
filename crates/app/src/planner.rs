//! The duty of having the database know how large its tables are.

use async_recursion::async_recursion as boxed;
use scaigrid_persistence::planner;

use crate::{App, Error};

impl App {
    /// Has the tables analysed that have grown, so that statements are planned for what there is; their names. To be called now and then,
    /// by any node.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn analyse_tables(&self) -> Result<Vec<String>, Error> {
        if !self.0.database.is_shared() {
            return Ok(Vec::new());
        }
        let mut connection = self.0.database.read().await?;
        Ok(planner::analyse_grown(&mut connection, &self.0.system).await?)
    }
}
