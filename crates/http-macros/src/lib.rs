//! How an operation of the API says its method and path: `#[get("/v1/users/{user_id}")]` before its handler.
//!
//! They look like the framework's own attributes, which the description of the API ([utoipa]) reads, too. Those make a resource of each
//! handler, with a regular expression of its path; these leave finding it, and its parameters, to the table of all routes.
//!
//! [utoipa]: https://docs.rs/utoipa

use proc_macro::TokenStream;
use quote::quote;
use syn::{ItemFn, LitStr, parse_macro_input};

/// Answers `GET` at a path.
#[proc_macro_attribute]
pub fn get(path: TokenStream, handler: TokenStream) -> TokenStream {
    endpoint("GET", path, handler)
}

/// Answers `POST` at a path.
#[proc_macro_attribute]
pub fn post(path: TokenStream, handler: TokenStream) -> TokenStream {
    endpoint("POST", path, handler)
}

/// Answers `PUT` at a path.
#[proc_macro_attribute]
pub fn put(path: TokenStream, handler: TokenStream) -> TokenStream {
    endpoint("PUT", path, handler)
}

/// Answers `PATCH` at a path.
#[proc_macro_attribute]
pub fn patch(path: TokenStream, handler: TokenStream) -> TokenStream {
    endpoint("PATCH", path, handler)
}

/// Answers `DELETE` at a path.
#[proc_macro_attribute]
pub fn delete(path: TokenStream, handler: TokenStream) -> TokenStream {
    endpoint("DELETE", path, handler)
}

/// A type of the handler's name that is an endpoint.
fn endpoint(method: &str, path: TokenStream, handler: TokenStream) -> TokenStream {
    let path = parse_macro_input!(path as LitStr);
    let handler = parse_macro_input!(handler as ItemFn);
    let (name, visibility) = (&handler.sig.ident, &handler.vis);
    let docs = handler.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let expanded = quote! {
        #(#docs)*
        #[allow(non_camel_case_types)]
        #[derive(Debug, Clone, Copy)]
        #visibility struct #name;

        impl ::scaigrid_http::Endpoint for #name {
            const METHOD: &'static str = #method;
            const PATH: &'static str = #path;

            fn route() -> ::actix_web::Route {
                #handler
                ::actix_web::web::to(#name)
            }
        }

        // What describes it hands it on to the framework, too.
        impl ::actix_web::dev::HttpServiceFactory for #name {
            fn register(self, config: &mut ::actix_web::dev::AppService) {
                ::scaigrid_http::register_alone::<Self>(config);
            }
        }
    };
    expanded.into()
}
